"""Names of the Hugging Face tracker (``Sam3TrackerVideoModel``) against ours, both ways.

The two differ in spelling and in how they store three things: four point embeddings are one table
there, the three layers of small MLPs have names instead of numbers, and the table of random
frequencies is there twice. The tracker part of the video layout is the same behind the prefix
``tracker_model.``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch

from ..errors import CheckpointMismatchError

TRACKER_PREFIX = "tracker_model."
_OURS_POINT = "sam_prompt_encoder.point_embeddings."
_THEIR_POINTS = "prompt_encoder.point_embed.weight"
_OURS_FREQUENCIES = "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
_THEIR_FREQUENCIES = (
    "shared_image_embedding.positional_embedding",
    "prompt_encoder.shared_embedding.positional_embedding",
)
NUM_POINT_EMBEDDINGS = 4

# (ours, theirs): whole names or stems; the first stem that fits is replaced.
_STEMS: tuple[tuple[str, str], ...] = (
    ("maskmem_tpos_enc", "memory_temporal_positional_encoding"),
    ("no_mem_embed", "no_memory_embedding"),
    ("no_mem_pos_enc", "no_memory_positional_encoding"),
    ("no_obj_ptr", "no_object_pointer"),
    ("no_obj_embed_spatial", "occlusion_spatial_embedding_parameter"),
    ("mask_downsample.", "mask_downsample."),
    ("transformer.encoder.layers.", "memory_attention.layers."),
    ("transformer.encoder.norm.", "memory_attention.layer_norm."),
    *(
        (f"maskmem_backbone.mask_downsampler.encoder.{3 * i + k}.",
         f"memory_encoder.mask_downsampler.layers.{i}.{part}.")
        for i in range(4)
        for k, part in enumerate(("conv", "layer_norm"))
    ),
    (
        "maskmem_backbone.mask_downsampler.encoder.12.",
        "memory_encoder.mask_downsampler.final_conv.",
    ),
    ("maskmem_backbone.pix_feat_proj.", "memory_encoder.feature_projection."),
    ("maskmem_backbone.fuser.layers.", "memory_encoder.memory_fuser.layers."),
    ("maskmem_backbone.out_proj.", "memory_encoder.projection."),
    ("sam_prompt_encoder.mask_downscaling.0.", "prompt_encoder.mask_embed.conv1."),
    ("sam_prompt_encoder.mask_downscaling.1.", "prompt_encoder.mask_embed.layer_norm1."),
    ("sam_prompt_encoder.mask_downscaling.3.", "prompt_encoder.mask_embed.conv2."),
    ("sam_prompt_encoder.mask_downscaling.4.", "prompt_encoder.mask_embed.layer_norm2."),
    ("sam_prompt_encoder.mask_downscaling.6.", "prompt_encoder.mask_embed.conv3."),
    ("sam_prompt_encoder.", "prompt_encoder."),
    ("sam_mask_decoder.output_upscaling.0.", "mask_decoder.upscale_conv1."),
    ("sam_mask_decoder.output_upscaling.1.", "mask_decoder.upscale_layer_norm."),
    ("sam_mask_decoder.output_upscaling.3.", "mask_decoder.upscale_conv2."),
    ("sam_mask_decoder.", "mask_decoder."),
    ("obj_ptr_proj.", "object_pointer_proj."),
    ("obj_ptr_tpos_proj.", "temporal_positional_encoding_projection_layer."),
)  # fmt: skip
# (ours, theirs): single parts between dots.
_PARTS: tuple[tuple[str, str], ...] = (
    ("out_proj", "o_proj"),
    ("norm_final_attn", "layer_norm_final_attn"),
    ("norm", "layer_norm"),
    ("norm1", "layer_norm1"),
    ("norm2", "layer_norm2"),
    ("norm3", "layer_norm3"),
    ("norm4", "layer_norm4"),
    ("lin1", "proj_in"),
    ("lin2", "proj_out"),
    ("gamma", "scale"),
    ("dwconv", "depthwise_conv"),
    ("pwconv1", "pointwise_conv1"),
    ("pwconv2", "pointwise_conv2"),
)
# The layers of three-layer MLPs: numbers here, names there.
_MLP_LAYERS = ("proj_in", "layers.0", "proj_out")
_OUR_MLP = re.compile(r"(_mlps\.\d+|_head|obj_ptr_proj)\.layers\.([012])\.")
_THEIR_MLP = re.compile(r"(_mlps\.\d+|_head|object_pointer_proj)\.(proj_in|layers\.0|proj_out)\.")
_TO_PARTS = dict(_PARTS)
_FROM_PARTS = {theirs: ours for ours, theirs in _PARTS}


def tracker_to_huggingface(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A tracker's state dict (no ``tracker.`` prefix, no backbone) under the peer's names.

    Raises:
        CheckpointMismatchError: names without a counterpart, or point embeddings missing.
    """
    points = [f"{_OURS_POINT}{i}.weight" for i in range(NUM_POINT_EMBEDDINGS)]
    _need(state, [*points, _OURS_FREQUENCIES])
    result = {_THEIR_POINTS: torch.cat([state[name] for name in points])}
    result.update(dict.fromkeys(_THEIR_FREQUENCIES, state[_OURS_FREQUENCIES]))
    unknown = []
    for name, tensor in state.items():
        if name in points or name == _OURS_FREQUENCIES:
            continue
        theirs = _their_name(name)
        if theirs is None:
            unknown.append(name)
        else:
            result[theirs] = tensor
    _refuse(unknown)
    return result


def tracker_from_huggingface(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tracker part of a peer's state dict under our names.

    Args:
        state: with or without ``tracker_model.``; the vision encoder and, with the prefix, all
            other parts are left out.

    Raises:
        CheckpointMismatchError: names without a counterpart, or point embeddings missing.
    """
    if any(name.startswith(TRACKER_PREFIX) for name in state):
        state = {
            name.removeprefix(TRACKER_PREFIX): tensor
            for name, tensor in state.items()
            if name.startswith(TRACKER_PREFIX)
        }
    _need(state, [_THEIR_POINTS, _THEIR_FREQUENCIES[0]])
    result = {_OURS_FREQUENCIES: state[_THEIR_FREQUENCIES[0]]}
    for i, row in enumerate(state[_THEIR_POINTS].split(1)):
        result[f"{_OURS_POINT}{i}.weight"] = row
    unknown = []
    for name, tensor in state.items():
        if name.startswith("vision_encoder.") or name in (_THEIR_POINTS, *_THEIR_FREQUENCIES):
            continue
        ours = _our_name(name)
        if ours is None:
            unknown.append(name)
        else:
            result[ours] = tensor
    _refuse(unknown)
    return result


def _their_name(name: str) -> str | None:
    if _OUR_MLP.search(name):
        name = _OUR_MLP.sub(lambda m: f"{m[1]}.{_MLP_LAYERS[int(m[2])]}.", name)
        return _translated(name, _STEMS, {})
    return _translated(name, _STEMS, _TO_PARTS)


def _our_name(name: str) -> str | None:
    stems = [(theirs, ours) for ours, theirs in _STEMS]
    if _THEIR_MLP.search(name):
        name = _THEIR_MLP.sub(lambda m: f"{m[1]}.layers.{_MLP_LAYERS.index(m[2])}.", name)
        return _translated(name, stems, {})
    return _translated(name, stems, _FROM_PARTS)


def _translated(
    name: str, stems: Iterable[tuple[str, str]], parts: Mapping[str, str]
) -> str | None:
    """The name with its first fitting stem and then its parts replaced; None without a stem."""
    for old, new in stems:
        if name.startswith(old):
            rest = name[len(old) :].split(".")
            return new + ".".join(parts.get(part, part) for part in rest)
    return None


def _need(state: Mapping[str, torch.Tensor], names: list[str]) -> None:
    missing = [name for name in names if name not in state]
    if missing:
        raise CheckpointMismatchError(
            f"a tracker needs {missing[0]}; this state dict lacks it, so it is not a whole tracker"
        )


def _refuse(unknown: list[str]) -> None:
    if unknown:
        raise CheckpointMismatchError(
            f"{len(unknown)} names have no counterpart in the other layout, first: {unknown[:3]}; "
            "give a tracker's state dict without its backbone"
        )

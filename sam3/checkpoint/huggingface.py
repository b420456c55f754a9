"""Names of the Hugging Face layout (``Sam3Model``) against ours, both ways.

The two differ in spelling, in split attention projections (q, k, v apart there, one ``in_proj``
or ``qkv`` here), in the transposed text projection and in what has no place there: the first row
of the ViT position table (never used) and the ``points_*`` projections of the geometry encoder.
The image part of the video layout is the same behind the prefix ``detector_model.``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch

from ..errors import CheckpointMismatchError
from .recipe import Operation, Recipe

IMAGE_PREFIX = "detector_model."
OTHER_PREFIXES = ("tracker_model.", "tracker_neck.")  # video layout, not the image model
MARKER = "vision_encoder.backbone.layer_norm.weight"
POINT_PREFIX = "geometry_encoder.points_"
# Our own addition when exporting: keeps the unused first row so that a round trip is lossless.
FIRST_ROW = "vision_encoder.backbone.embeddings.first_position_embedding"

_TRUNK = "backbone.vision_backbone.trunk."
_TEXT = "backbone.language_backbone.encoder."
_POS_EMBED = _TRUNK + "pos_embed"
_HF_POS_EMBED = "vision_encoder.backbone.embeddings.position_embeddings"
_HF_TEXT_PROJECTION = "text_encoder.text_projection.weight"

# (ours, theirs) prefixes; "{n}" is a layer number, "{n+1}" the same counted from one.
_PREFIXES: tuple[tuple[str, str], ...] = (
    (
        _TRUNK + "patch_embed.proj.",
        "vision_encoder.backbone.embeddings.patch_embeddings.projection.",
    ),
    (_TRUNK + "ln_pre.", "vision_encoder.backbone.layer_norm."),
    (_TRUNK + "blocks.{n}.norm1.", "vision_encoder.backbone.layers.{n}.layer_norm1."),
    (_TRUNK + "blocks.{n}.norm2.", "vision_encoder.backbone.layers.{n}.layer_norm2."),
    (_TRUNK + "blocks.{n}.mlp.", "vision_encoder.backbone.layers.{n}.mlp."),
    (_TRUNK + "blocks.{n}.attn.proj.", "vision_encoder.backbone.layers.{n}.attention.o_proj."),
    ("backbone.vision_backbone.convs.{n}.conv_1x1.", "vision_encoder.neck.fpn_layers.{n}.proj1."),
    ("backbone.vision_backbone.convs.{n}.conv_3x3.", "vision_encoder.neck.fpn_layers.{n}.proj2."),
    (
        "backbone.vision_backbone.convs.{n}.dconv_2x2_0.",
        "vision_encoder.neck.fpn_layers.{n}.scale_layers.0.",
    ),
    (
        "backbone.vision_backbone.convs.{n}.dconv_2x2_1.",
        "vision_encoder.neck.fpn_layers.{n}.scale_layers.2.",
    ),
    (_TEXT + "token_embedding.", "text_encoder.text_model.embeddings.token_embedding."),
    (_TEXT + "ln_final.", "text_encoder.text_model.final_layer_norm."),
    (
        _TEXT + "transformer.resblocks.{n}.ln_1.",
        "text_encoder.text_model.encoder.layers.{n}.layer_norm1.",
    ),
    (
        _TEXT + "transformer.resblocks.{n}.ln_2.",
        "text_encoder.text_model.encoder.layers.{n}.layer_norm2.",
    ),
    (
        _TEXT + "transformer.resblocks.{n}.mlp.c_fc.",
        "text_encoder.text_model.encoder.layers.{n}.mlp.fc1.",
    ),
    (
        _TEXT + "transformer.resblocks.{n}.mlp.c_proj.",
        "text_encoder.text_model.encoder.layers.{n}.mlp.fc2.",
    ),
    (
        _TEXT + "transformer.resblocks.{n}.attn.out_proj.",
        "text_encoder.text_model.encoder.layers.{n}.self_attn.out_proj.",
    ),
    ("backbone.language_backbone.resizer.", "text_projection."),
    ("geometry_encoder.img_pre_norm.", "geometry_encoder.vision_layer_norm."),
    ("geometry_encoder.norm.", "geometry_encoder.prompt_layer_norm."),
    ("geometry_encoder.encode_norm.", "geometry_encoder.output_layer_norm."),
    *(
        (f"{ours}.{{n}}.{our_part}.", f"{theirs}.{{n}}.{their_part}.")
        for ours, theirs in (
            ("geometry_encoder.encode", "geometry_encoder.layers"),
            ("transformer.encoder.layers", "detr_encoder.layers"),
        )
        for our_part, their_part in (
            ("self_attn.out_proj", "self_attn.o_proj"),
            ("cross_attn_image.out_proj", "cross_attn.o_proj"),
            ("norm1", "layer_norm1"),
            ("norm2", "layer_norm2"),
            ("norm3", "layer_norm3"),
            ("linear1", "mlp.fc1"),
            ("linear2", "mlp.fc2"),
        )
    ),
    *(
        (f"transformer.decoder.layers.{{n}}.{ours}.", f"detr_decoder.layers.{{n}}.{theirs}.")
        for ours, theirs in (
            ("self_attn.out_proj", "self_attn.o_proj"),
            ("ca_text.out_proj", "text_cross_attn.o_proj"),
            ("cross_attn.out_proj", "vision_cross_attn.o_proj"),
            ("norm2", "self_attn_layer_norm"),
            ("catext_norm", "text_cross_attn_layer_norm"),
            ("norm1", "vision_cross_attn_layer_norm"),
            ("norm3", "mlp_layer_norm"),
            ("linear1", "mlp.fc1"),
            ("linear2", "mlp.fc2"),
        )
    ),
    ("transformer.decoder.norm.", "detr_decoder.output_layer_norm."),
    ("transformer.decoder.bbox_embed.layers.{n}.", "detr_decoder.box_head.layer{n+1}."),
    (
        "transformer.decoder.presence_token_head.layers.{n}.",
        "detr_decoder.presence_head.layer{n+1}.",
    ),
    ("transformer.decoder.presence_token_out_norm.", "detr_decoder.presence_layer_norm."),
    ("transformer.decoder.ref_point_head.layers.{n}.", "detr_decoder.ref_point_head.layer{n+1}."),
    ("transformer.decoder.boxRPB_embed_x.layers.{n}.", "detr_decoder.box_rpb_embed_x.layer{n+1}."),
    ("transformer.decoder.boxRPB_embed_y.layers.{n}.", "detr_decoder.box_rpb_embed_y.layer{n+1}."),
    ("transformer.decoder.query_embed.", "detr_decoder.query_embed."),
    ("transformer.decoder.reference_points.", "detr_decoder.reference_points."),
    ("transformer.decoder.presence_token.", "detr_decoder.presence_token."),
    ("segmentation_head.pixel_decoder.", "mask_decoder.pixel_decoder."),
    ("segmentation_head.mask_predictor.mask_embed.", "mask_decoder.mask_embedder."),
    ("segmentation_head.instance_seg_head.", "mask_decoder.instance_projection."),
    ("segmentation_head.semantic_seg_head.", "mask_decoder.semantic_projection."),
    ("segmentation_head.cross_attend_prompt.out_proj.", "mask_decoder.prompt_cross_attn.o_proj."),
    ("segmentation_head.cross_attn_norm.", "mask_decoder.prompt_cross_attn_norm."),
    ("dot_prod_scoring.prompt_mlp.layers.{n}.", "dot_product_scoring.text_mlp.layer{n+1}."),
    ("dot_prod_scoring.prompt_mlp.out_norm.", "dot_product_scoring.text_mlp_out_norm."),
    ("dot_prod_scoring.prompt_proj.", "dot_product_scoring.text_proj."),
    ("dot_prod_scoring.hs_proj.", "dot_product_scoring.query_proj."),
    *(
        (f"geometry_encoder.{name}.", f"geometry_encoder.{name}.")
        for name in (
            "label_embed",
            "cls_embed",
            "boxes_direct_project",
            "boxes_pool_project",
            "boxes_pos_enc_project",
            "points_direct_project",
            "points_pool_project",
            "points_pos_enc_project",
            "final_proj",
        )
    ),
)

# Attention blocks whose q, k, v are one tensor here: (our stem, their stem).
_ATTENTIONS: tuple[tuple[str, str], ...] = (
    (_TRUNK + "blocks.{n}.attn.qkv.", "vision_encoder.backbone.layers.{n}.attention."),
    (
        _TEXT + "transformer.resblocks.{n}.attn.in_proj_",
        "text_encoder.text_model.encoder.layers.{n}.self_attn.",
    ),
    ("geometry_encoder.encode.{n}.self_attn.in_proj_", "geometry_encoder.layers.{n}.self_attn."),
    (
        "geometry_encoder.encode.{n}.cross_attn_image.in_proj_",
        "geometry_encoder.layers.{n}.cross_attn.",
    ),
    ("transformer.encoder.layers.{n}.self_attn.in_proj_", "detr_encoder.layers.{n}.self_attn."),
    (
        "transformer.encoder.layers.{n}.cross_attn_image.in_proj_",
        "detr_encoder.layers.{n}.cross_attn.",
    ),
    ("transformer.decoder.layers.{n}.self_attn.in_proj_", "detr_decoder.layers.{n}.self_attn."),
    ("transformer.decoder.layers.{n}.ca_text.in_proj_", "detr_decoder.layers.{n}.text_cross_attn."),
    (
        "transformer.decoder.layers.{n}.cross_attn.in_proj_",
        "detr_decoder.layers.{n}.vision_cross_attn.",
    ),
    ("segmentation_head.cross_attend_prompt.in_proj_", "mask_decoder.prompt_cross_attn."),
)

_LEAF = r"(weight|bias)"
_NUMBER = r"(?P<n>\d+)"


def _pattern(template: str, tail: str) -> re.Pattern[str]:
    text = re.escape(template)
    text = text.replace(re.escape("{n+1}"), _NUMBER).replace(re.escape("{n}"), _NUMBER)
    return re.compile(text + tail)


def _number(match: re.Match[str], counts_from_one: bool = False) -> int | None:
    """The layer number of a matched name, counted from zero; None where there is none."""
    text = match.groupdict().get("n")
    return None if text is None else int(text) - counts_from_one


def _fill(template: str, number: int | None) -> str:
    """Put a layer number (counted from zero) into a template."""
    if number is None:
        return template
    return template.replace("{n+1}", str(number + 1)).replace("{n}", str(number))


_TO_HF = tuple((_pattern(ours, r"(?P<tail>.+)"), theirs) for ours, theirs in _PREFIXES)
_FROM_HF = tuple(
    (_pattern(theirs, r"(?P<tail>.+)"), ours, "{n+1}" in theirs) for ours, theirs in _PREFIXES
)
_QKV_TO_HF = tuple((_pattern(ours, f"(?P<leaf>{_LEAF})"), theirs) for ours, theirs in _ATTENTIONS)
_QKV_FROM_HF = tuple(
    (_pattern(theirs, f"(?P<part>[qkv])_proj\\.(?P<leaf>{_LEAF})"), ours)
    for ours, theirs in _ATTENTIONS
)
_SINGLE_UPSCALE = re.compile(
    r"backbone\.vision_backbone\.convs\.(?P<n>\d+)\.dconv_2x2\.(?P<leaf>weight|bias)"
)


def is_huggingface(names: Iterable[str]) -> bool:
    """Whether the names are those of ``Sam3Model`` or of the video layout around it."""
    return any(name in (MARKER, IMAGE_PREFIX + MARKER) for name in names)


def recipes_from_huggingface(names: Iterable[str]) -> tuple[dict[str, Recipe], list[str]]:
    """Map stored names (no prefix) onto ours.

    Returns:
        recipes by our name, and the names that have no counterpart. An attention block with one
        of q, k, v missing counts all its tensors as having none.
    """
    present = list(names)
    two_upscales = {
        name.split(".scale_layers.")[0] for name in present if ".scale_layers.2." in name
    }
    recipes: dict[str, Recipe] = {}
    attention: dict[str, dict[str, str]] = {}
    unknown: list[str] = []
    for name in present:
        part = _attention_part(name)
        if part is not None:
            target, letter = part
            attention.setdefault(target, {})[letter] = name
            continue
        found = _plain_target(name, two_upscales)
        if found is None:
            unknown.append(name)
        else:
            recipes[found[0]] = Recipe((name,), found[1])
    if FIRST_ROW in present and _POS_EMBED in recipes:
        unknown.remove(FIRST_ROW)
        recipes[_POS_EMBED] = Recipe((FIRST_ROW, _HF_POS_EMBED), "concat_rows")
    for target, parts in attention.items():
        if len(parts) == 3:
            recipes[target] = Recipe(tuple(parts[letter] for letter in "qkv"), "concat")
        else:
            unknown.extend(parts.values())
    return recipes, unknown


def _attention_part(name: str) -> tuple[str, str] | None:
    for pattern, ours in _QKV_FROM_HF:
        match = pattern.fullmatch(name)
        if match:
            return _fill(ours, _number(match)) + match["leaf"], match["part"]
    return None


def _plain_target(name: str, two_upscales: set[str]) -> tuple[str, Operation] | None:
    if name == _HF_POS_EMBED:
        return _POS_EMBED, "zero_row_first"
    if name == _HF_TEXT_PROJECTION:
        return _TEXT + "text_projection", "transpose"
    if name == "text_encoder.text_model.embeddings.position_embedding.weight":
        return _TEXT + "positional_embedding", "copy"
    for pattern, ours, counts_from_one in _FROM_HF:
        match = pattern.fullmatch(name)
        if match:
            target = _fill(ours, _number(match, counts_from_one)) + match["tail"]
            if ".scale_layers." in name and name.split(".scale_layers.")[0] not in two_upscales:
                target = target.replace("dconv_2x2_0", "dconv_2x2")
            return target, "copy"
    return None


def to_huggingface(
    state: Mapping[str, torch.Tensor], *, keep_extras: bool = True
) -> dict[str, torch.Tensor]:
    """An image model's state dict under the names of ``Sam3Model``.

    Args:
        state: names of the image model (no ``detector.`` prefix) -> tensors.
        keep_extras: also keep what ``Sam3Model`` has no place for (the ``points_*`` projections
            and the unused first row of the position table), so that ``from_huggingface`` gives
            back everything. False gives exactly the names of ``Sam3Model``.

    Returns:
        Views of the given tensors where possible; computed ``freqs_cis`` tables are left out.

    Raises:
        CheckpointMismatchError: names without a counterpart (an interactive predictor, say).
    """
    result: dict[str, torch.Tensor] = {}
    unknown = []
    for name, tensor in state.items():
        if name.endswith(".freqs_cis"):
            continue
        if name.startswith(POINT_PREFIX) and not keep_extras:
            continue
        converted = _export(name, tensor, keep_extras)
        if converted is None:
            unknown.append(name)
        else:
            result.update(converted)
    if unknown:
        raise CheckpointMismatchError(
            f"{len(unknown)} names have no counterpart in the Hugging Face layout, first: "
            f"{unknown[:3]}. Only the image model without the interactive predictor has one."
        )
    return result


def _export(name: str, tensor: torch.Tensor, keep_extras: bool) -> dict[str, torch.Tensor] | None:
    if name == _POS_EMBED:
        result = {_HF_POS_EMBED: tensor[:, 1:]}
        if keep_extras:
            result[FIRST_ROW] = tensor[:, :1]
        return result
    if name == _TEXT + "text_projection":
        return {_HF_TEXT_PROJECTION: tensor.t()}
    if name == _TEXT + "positional_embedding":
        return {"text_encoder.text_model.embeddings.position_embedding.weight": tensor}
    for pattern, theirs in _QKV_TO_HF:
        match = pattern.fullmatch(name)
        if match:
            stem = _fill(theirs, _number(match))
            parts = tensor.chunk(3)
            return {
                f"{stem}{letter}_proj.{match['leaf']}": part
                for letter, part in zip("qkv", parts, strict=True)
            }
    match = _SINGLE_UPSCALE.fullmatch(name)
    if match:
        layer = f"vision_encoder.neck.fpn_layers.{match['n']}"
        return {f"{layer}.scale_layers.0.{match['leaf']}": tensor}
    for pattern, theirs in _TO_HF:
        match = pattern.fullmatch(name)
        if match:
            return {_fill(theirs, _number(match)) + match["tail"]: tensor}
    return None


def from_huggingface(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A ``Sam3Model`` (or image part of a video) state dict under our names.

    Args:
        state: names as in ``model.safetensors``, with or without ``detector_model.``; tracker
            entries are left out.

    Returns:
        Tensors by our name. What the layout lacks is not invented: no ``points_*``, no
        ``freqs_cis``; the first row of the position table is zeros.

    Raises:
        CheckpointMismatchError: names without a counterpart, or parts that do not fit together.
    """
    kept = {
        name.removeprefix(IMAGE_PREFIX): tensor
        for name, tensor in state.items()
        if not name.startswith(OTHER_PREFIXES)
    }
    recipes, unknown = recipes_from_huggingface(kept)
    if unknown:
        raise CheckpointMismatchError(
            f"{len(unknown)} names are not those of Sam3Model, first: {unknown[:3]}. "
            f"Give its state dict unchanged."
        )
    return {name: recipe.build(kept.__getitem__) for name, recipe in recipes.items()}

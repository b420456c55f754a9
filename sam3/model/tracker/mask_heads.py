"""Prompt encoder and mask decoder in one call, for prompts and for masks that are the answer.

SAM 2 (https://arxiv.org/abs/2408.00714), sections "prompt encoder and mask decoder" and "object
pointers".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import InputError
from .types import Items, SamHeadsOutput

NO_OBJ_SCORE = -1024.0
"""Mask logit of an object that is not in the picture."""
MASK_SCALE, MASK_BIAS = 20.0, -10.0
"""A mask of 0 and 1 becomes logits of -10 and 10."""
NOT_A_POINT = -1


@dataclass(frozen=True)
class SamHeads:
    """The modules of the heads and the sizes they work at.

    obj_ptr_proj: mask token -> pointer. no_obj_ptr [1, C]: pointer of an absent object.
    mask_downsample: shrinks a given mask for the prompt encoder. image_size: side of the picture.
    stride: picture pixels per feature. mask_stride: mask logits per feature.
    """

    prompt_encoder: nn.Module
    mask_decoder: nn.Module
    obj_ptr_proj: nn.Module
    no_obj_ptr: Tensor
    mask_downsample: nn.Module
    image_size: int
    stride: int
    mask_stride: int


def forward_heads(
    heads: SamHeads,
    features: Tensor,
    point_inputs: Items | None,
    mask_inputs: Tensor | None,
    high_res_features: Sequence[Tensor] | None,
    multimask_output: bool,
) -> SamHeadsOutput:
    """Masks, scores and pointers for B prompts.

    Args:
        features: [B, C, h, w]. high_res_features: two finer levels through conv_s0 / conv_s1.
        point_inputs: ``point_coords`` [B, P, 2], (x, y) in picture pixels, and ``point_labels``
            [B, P]; None stands for one point that is none.
        mask_inputs: logits [B, 1, H, W] of an earlier mask; resized where necessary.
        multimask_output: several candidates, the best of which is taken.
    """
    batch = features.shape[0]
    points = _points(point_inputs, batch, features.device)
    if mask_inputs is not None:
        mask_inputs = resize(mask_inputs, heads.prompt_encoder.mask_input_size, antialias=True)
    sparse, dense = heads.prompt_encoder(points=points, boxes=None, masks=mask_inputs)
    low, ious, tokens, presence = heads.mask_decoder(
        image_embeddings=features,
        image_pe=heads.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=multimask_output,
        repeat_image=False,
        high_res_features=high_res_features,
    )
    present = presence > 0
    low = torch.where(present[..., None, None], low.float(), NO_OBJ_SCORE)
    rows = torch.arange(batch, device=features.device)
    best = ious.argmax(dim=-1)
    chosen = low[rows, best][:, None]
    token = tokens[rows, best] if tokens.shape[1] > 1 else tokens[:, 0]
    pointer = torch.where(present, heads.obj_ptr_proj(token), heads.no_obj_ptr)
    return SamHeadsOutput(
        low_res_multimasks=low,
        ious=ious,
        low_res_masks=chosen,
        high_res_masks=resize(chosen, (heads.image_size, heads.image_size)),
        obj_ptr=pointer,
        object_score_logits=presence,
    )


def mask_as_output(
    heads: SamHeads,
    features: Tensor,
    high_res_features: Sequence[Tensor] | None,
    mask_inputs: Tensor,
) -> SamHeadsOutput:
    """Take given masks as the answer; the heads only make the pointer.

    mask_inputs: [B, 1, H, W] in 0..1. The result's masks are +-10, the small ones
    ``H // stride * mask_stride`` large; IoU is 1; an empty mask is an absent object.
    """
    masks = mask_inputs.float()
    high = masks * MASK_SCALE + MASK_BIAS
    size = tuple(side // heads.stride * heads.mask_stride for side in high.shape[-2:])
    low = resize(high, size, antialias=True)
    weight = heads.mask_downsample.weight
    made = forward_heads(
        heads,
        features,
        None,
        heads.mask_downsample(masks.to(weight.dtype)),
        high_res_features,
        multimask_output=False,
    )
    present = (masks > 0).flatten(1).any(dim=1, keepdim=True)
    return SamHeadsOutput(
        low_res_multimasks=low,
        ious=torch.ones_like(present, dtype=made.ious.dtype),
        low_res_masks=low,
        high_res_masks=high,
        obj_ptr=torch.where(present, made.obj_ptr, heads.no_obj_ptr),
        object_score_logits=present.float() * MASK_SCALE + MASK_BIAS,
    )


def resize(masks: Tensor, size: Sequence[int], antialias: bool = False) -> Tensor:
    """[B, M, H, W] -> [B, M, *size], float32, bilinear; as given where the size fits."""
    if tuple(masks.shape[-2:]) == tuple(size):
        return masks
    return F.interpolate(
        masks.float(), size=tuple(size), mode="bilinear", align_corners=False, antialias=antialias
    )


def _points(point_inputs: Items | None, batch: int, device: torch.device) -> tuple[Tensor, Tensor]:
    if point_inputs is None:
        labels = torch.full((batch, 1), NOT_A_POINT, dtype=torch.int32, device=device)
        return torch.zeros(batch, 1, 2, device=device), labels
    coords, labels = point_inputs["point_coords"], point_inputs["point_labels"]
    if coords.shape != (batch, labels.shape[-1], 2) or labels.shape[0] != batch:
        raise InputError(
            f"{batch} objects need point_coords [{batch}, P, 2] and point_labels [{batch}, P], got "
            f"{tuple(coords.shape)} and {tuple(labels.shape)}"
        )
    return coords, labels

"""Image features in the form the tracker reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import SessionError

FEATURE_LEVELS = 3

Prepared = tuple[dict[str, Any], list[Tensor], list[Tensor], list[tuple[int, int]]]


def encode_image(
    backbone: Any, mask_decoder: nn.Module, pictures: Tensor, dtype: torch.dtype
) -> dict[str, Any]:
    """Pictures [B, 3, S, S] -> the backbone's output for the tracker.

    ``backbone_fpn`` (finest first; the two finer levels through the mask decoder's conv_s0 and
    conv_s1, in ``dtype``), ``vision_pos_enc``, ``vision_features``.
    """
    if backbone is None:
        raise SessionError(
            "this tracker has no backbone to encode pictures with; build it with "
            "with_backbone=True, set tracker.backbone, or pass features"
        )
    found = backbone.forward_image(pictures)["sam2_backbone_out"]
    if found is None:
        raise SessionError(
            "this backbone has no features for the tracker; build it with the second neck "
            "(add_sam2_neck=True)"
        )
    fine, middle, *rest = found["backbone_fpn"]
    levels = [mask_decoder.conv_s0(fine.to(dtype)), mask_decoder.conv_s1(middle.to(dtype)), *rest]
    return {**found, "backbone_fpn": levels}


def prepare(backbone_out: Mapping[str, Any], dtype: torch.dtype) -> Prepared:
    """(copy of the dict, features, positions [H * W, B, C], sizes (H, W)) of three levels."""
    maps = backbone_out["backbone_fpn"][-FEATURE_LEVELS:]
    codes = backbone_out["vision_pos_enc"][-FEATURE_LEVELS:]
    sizes = [(int(x.shape[-2]), int(x.shape[-1])) for x in codes]
    feats, pos = ([_as_sequence(x).to(dtype) for x in levels] for levels in (maps, codes))
    return dict(backbone_out), feats, pos, sizes


def as_map(x: Tensor, size: tuple[int, int]) -> Tensor:
    """[H * W, B, C] -> [B, C, H, W]."""
    return x.permute(1, 2, 0).unflatten(-1, size)


def _as_sequence(x: Tensor) -> Tensor:
    return x.flatten(2).permute(2, 0, 1)

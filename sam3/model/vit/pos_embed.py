"""Absolute position tables that are tiled or resized to the token grid."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def get_abs_pos(
    abs_pos: Tensor,
    has_cls_token: bool,
    hw: tuple[int, int],
    retain_cls_token: bool = False,
    tiling: bool = False,
) -> Tensor:
    """Fit a square position table to a grid of (h, w) tokens.

    abs_pos: [1, N (+1 with class token), C]. Returns [1, h, w, C], or [1, 1 + h * w, C] with
    ``retain_cls_token``. A table of another size is repeated periodically (``tiling``) or resized
    bicubically.
    """
    h, w = hw
    cls_pos = abs_pos[:, :1]
    grid = abs_pos[:, 1:] if has_cls_token else abs_pos
    side = math.isqrt(grid.shape[1])
    if side * side != grid.shape[1]:
        raise ValueError(f"position table of {grid.shape[1]} entries is not square")
    grid = grid.reshape(1, side, side, -1)
    if (side, side) != (h, w):
        if tiling:
            grid = grid.tile(1, h // side + 1, w // side + 1, 1)[:, :h, :w]
        else:
            grid = F.interpolate(
                grid.permute(0, 3, 1, 2), size=(h, w), mode="bicubic", align_corners=False
            ).permute(0, 2, 3, 1)
    if not retain_cls_token:
        return grid
    if not has_cls_token:
        raise ValueError("retain_cls_token needs a table with a class-token entry")
    return torch.cat([cls_pos, grid.flatten(1, 2)], dim=1)

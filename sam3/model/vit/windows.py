"""Non-overlapping windows over a token grid (Li et al. 2022, ViTDet, section 3)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def window_partition(x: Tensor, window_size: int) -> tuple[Tensor, tuple[int, int]]:
    """Cut [B, H, W, C] into windows, padding bottom and right with zeros where needed.

    Returns windows [B * nW, w, w, C] in row-major order and the padded (H, W).
    """
    B, H, W, C = x.shape
    pad_h, pad_w = -H % window_size, -W % window_size
    if pad_h or pad_w:
        x = F.pad(x, (0, 0, 0, pad_w, 0, pad_h))
    Hp, Wp = H + pad_h, W + pad_w
    x = x.view(B, Hp // window_size, window_size, Wp // window_size, window_size, C)
    windows = x.transpose(2, 3).reshape(-1, window_size, window_size, C)
    return windows, (Hp, Wp)


def window_unpartition(
    windows: Tensor, window_size: int, pad_hw: tuple[int, int], hw: tuple[int, int]
) -> Tensor:
    """Inverse of :func:`window_partition`: [B * nW, w, w, C] -> [B, H, W, C], padding cropped."""
    (Hp, Wp), (H, W) = pad_hw, hw
    rows, cols = Hp // window_size, Wp // window_size
    x = windows.view(-1, rows, cols, window_size, window_size, windows.shape[-1])
    x = x.transpose(2, 3).reshape(-1, Hp, Wp, windows.shape[-1])
    return x[:, :H, :W] if (Hp, Wp) != (H, W) else x

"""Box-relative bias of the decoder's cross-attention (Lin et al. 2023, Plain DETR, section 4.1)."""

from __future__ import annotations

import torch
from torch import Tensor

LOG_BASE = 3.0
"""log2(8): offsets of one image side map to 1."""


def log_offsets(edges: Tensor, size: int) -> Tensor:
    """Signed log distances from grid lines i / size to box edges.

    edges: [..., 2] (near, far), normalised. Returns [..., size, 2]: sign(d) log2(|d| + 1) / 3 of
    d = 8 (i / size - edge).
    """
    grid = torch.arange(size, device=edges.device, dtype=edges.dtype) / size
    delta = 8.0 * (grid[:, None] - edges[..., None, :])
    return delta.sign() * torch.log2(delta.abs() + 1.0) / LOG_BASE


def combine_axes(bias_y: Tensor, bias_x: Tensor, lead: int) -> Tensor:
    """Sum of per-row and per-column biases, with ``lead`` zero queries put in front.

    bias_y [B, Q, H, heads], bias_x [B, Q, W, heads] -> [B, heads, lead + Q, H * W] (row-major).
    """
    pad = (0, 0, 0, 0, lead, 0)
    rows = torch.nn.functional.pad(bias_y, pad).permute(0, 3, 1, 2)
    cols = torch.nn.functional.pad(bias_x, pad).permute(0, 3, 1, 2)
    return (rows[..., None] + cols[..., None, :]).flatten(-2)

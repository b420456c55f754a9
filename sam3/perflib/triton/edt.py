"""Triton kernel of the exact squared Euclidean distance transform.

The transform is separable: along each row, then along each column, every pixel takes the lower
envelope of the parabolas that stand on the line's pixels, min over q of (p - q)^2 + f(q). The
minimum is taken over all q at once, a block of p at a time, in integers: there is no rounding and
no order to depend on.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from ...errors import InputError

INFINITE = 1 << 30
_MAX_SIDE = 32767  # a squared distance along one axis stays below INFINITE
_BLOCK = 128


@cache
def _kernel() -> Any:
    """Import Triton and build the kernel, once."""
    global tl  # the kernel's source is compiled against this module's globals
    import triton
    import triton.language as tl

    @triton.jit
    def lower_envelope(heights, out, length, BLOCK: tl.constexpr):  # type: ignore[name-defined]
        # One program: a block of pixels of one line. heights, out: int32 [lines, length].
        line = tl.program_id(0).to(tl.int64) * length
        p = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        best = tl.full((BLOCK,), 2147483647, tl.int32)
        for q in range(0, length):
            height = tl.load(heights + line + q)
            best = tl.minimum(best, (p - q) * (p - q) + height)
        tl.store(out + line + p, best, mask=p < length)

    return lower_envelope


def _along_last_axis(heights: Tensor) -> Tensor:
    heights = heights.contiguous()
    length = heights.shape[-1]
    lines = heights.numel() // length
    out = torch.empty_like(heights)
    blocks = (length + _BLOCK - 1) // _BLOCK
    _kernel()[(lines, blocks)](heights, out, length, BLOCK=_BLOCK)
    return out


def squared_distance(mask: Tensor) -> Tensor:
    """Squared distance of every pixel to the nearest False one: bool [B, H, W] -> int32 [B, H, W].

    ``INFINITE`` or more in an image without a False pixel. Raises InputError for a side of more
    than 32767 pixels.
    """
    if max(mask.shape[1:]) > _MAX_SIDE:
        raise InputError(
            f"images may have at most {_MAX_SIDE} pixels a side here, got {tuple(mask.shape)}"
        )
    if mask.numel() == 0:
        return torch.zeros(mask.shape, dtype=torch.int32, device=mask.device)
    heights = torch.where(mask, INFINITE, 0).to(torch.int32)
    along_rows = _along_last_axis(heights).clamp(max=INFINITE)
    along_columns = _along_last_axis(along_rows.transpose(1, 2))
    return along_columns.transpose(1, 2).contiguous()

"""Triton kernel of greedy NMS; its CPU twin is ``perflib.nms.suppress_in_order``."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor


@cache
def _kernel() -> Any:
    """Import Triton and build the kernel, once."""
    global tl  # the kernel's source is compiled against this module's globals
    import triton
    import triton.language as tl

    @triton.jit
    def suppress(ious, keep_out, n, threshold, BLOCK: tl.constexpr):  # type: ignore[name-defined]
        # One program: rows are taken in order, each row's columns at once. The flags live in
        # registers, so that no row can see a stale flag and no barrier is needed.
        cols = tl.arange(0, BLOCK)
        inside = cols < n
        keep = tl.where(inside, 1, 0)
        for row in range(0, n):
            alive = tl.sum(tl.where(cols == row, keep, 0), axis=0)
            overlap = tl.load(ious + row * n + cols, mask=inside, other=0.0)
            drop = (overlap > threshold) & (cols > row) & (alive > 0)
            keep = tl.where(drop, 0, keep)
        tl.store(keep_out + cols, keep, mask=inside)

    return suppress


def suppress_in_order_triton(ious: Tensor, iou_threshold: float) -> Tensor:
    """Greedy step on an ordered IoU matrix: float [n, n] -> bool [n] on the same device."""
    import triton

    ious = ious.float().contiguous()
    n = ious.shape[0]
    keep = torch.empty(n, dtype=torch.int32, device=ious.device)
    if n:
        block = max(16, triton.next_power_of_2(n))
        _kernel()[(1,)](ious, keep, n, float(iou_threshold), BLOCK=block)
    return keep.bool()


def nms_triton(ious: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Greedy NMS: float [n, n], float [n] -> long indices of the kept rows by descending score.

    Of equal scores the earlier index comes first (stable sort).
    """
    order = torch.sort(scores, descending=True, stable=True).indices
    return order[suppress_in_order_triton(ious[order][:, order], iou_threshold)]

"""Optimal assignment per prompt, and the bookkeeping between padded and packed targets."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

INVALID_COST = 1e9  # cost of a pair that must not be matched
DROP_COST = 1e8  # matches at or above this cost are dropped

Indices = tuple[Tensor, Tensor, Tensor | None]


def pad_packed_boxes(boxes: Tensor, num_boxes: Tensor) -> Tensor:
    """Spread packed boxes ``(N, 4)`` to ``(B, max(num_boxes), 4)``, zeros where there is none."""
    boxes = boxes.reshape(-1, 4)
    batch = num_boxes.shape[0]
    width = int(num_boxes.max()) if batch else 0
    slots = torch.arange(width, device=boxes.device)[None] < num_boxes[:, None]
    padded = boxes.new_zeros(batch, width, 4)
    padded[slots] = boxes
    return padded


def solve_batch(
    cost: np.ndarray,
    counts: np.ndarray,
    *,
    repeats: int = 1,
    batch_ids: np.ndarray,
    always_target: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Assign queries to targets, prompt by prompt.

    Args:
        cost: ``(B, Q, T)`` float, entries >= ``DROP_COST`` are never kept.
        counts: ``(B,)`` number of targets of each prompt (before repetition).
        repeats: tile the target columns of a prompt this often.
        batch_ids: ``(B,)`` value to report for each row of ``cost``.
        always_target: report target indices even where they are the identity.

    Returns:
        ``batch_idx``, ``src_idx``, ``tgt_idx`` (int64, equal lengths). ``tgt_idx`` is None when the
        matches are already in the order of the packed targets.
    """
    enough = bool((counts * repeats <= cost.shape[1]).all())
    in_target_order = enough and not always_target
    offsets = np.cumsum(counts * repeats) - counts * repeats
    batch_parts: list[np.ndarray] = []
    src_parts: list[np.ndarray] = []
    tgt_parts: list[np.ndarray] = []
    for row, count in enumerate(counts):
        matrix = cost[row, :, :count]
        if repeats > 1:
            matrix = np.tile(matrix, (1, repeats))
        queries, targets = linear_sum_assignment(matrix)
        keep = matrix[queries, targets] < DROP_COST
        if in_target_order:
            order = np.argsort(targets)
            queries, targets = queries[order], targets[order]
            keep = keep[order]
        queries, targets = queries[keep], targets[keep]
        batch_parts.append(np.full(len(queries), batch_ids[row], dtype=np.int64))
        src_parts.append(queries.astype(np.int64))
        tgt_parts.append(targets.astype(np.int64) + offsets[row])
    in_target_order &= sum(map(len, tgt_parts)) == int((counts * repeats).sum())
    empty = np.zeros(0, dtype=np.int64)
    join = [np.concatenate(p) if p else empty for p in (batch_parts, src_parts, tgt_parts)]
    return join[0], join[1], None if in_target_order else join[2]

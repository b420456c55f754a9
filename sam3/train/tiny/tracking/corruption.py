"""Memories that went wrong, so that the tracker learns to recover from its own mistakes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_REACH = 6  # pixels by which a mask shrinks or grows


def corrupt_masks(logits: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Erode or dilate the masks of a share of the objects: logits [N, 1, R, R] -> the same.

    ``generator`` is one of the CPU, whatever the masks' device.
    """
    draws = torch.rand(len(logits), generator=generator)
    reach = int(torch.randint(1, MAX_REACH + 1, (1,), generator=generator))
    changed = logits
    for first, sign in ((0.0, 1.0), (share / 2, -1.0)):
        rows = torch.nonzero((draws >= first) & (draws < first + share / 2))[:, 0]
        rows = rows.to(logits.device)
        if len(rows):
            grown = sign * F.max_pool2d(sign * logits[rows], 2 * reach + 1, 1, reach)
            changed = changed.index_copy(0, rows, grown)
    return changed

"""Where one object ends and the next begins, as targets for the trunk.

Names of colours and shapes do not tell objects apart that touch: a click or a box asks for exactly
one of them. Pairs of cells a few pixels apart do: the trunk says of each pair whether both cells
show the same object (or both none).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

OFFSETS = ((0, 1), (1, 0), (2, 2), (2, -2), (0, 4), (4, 0))
"""(rows, columns) from the first cell of a pair to the second."""


def pair_targets(objects: Tensor) -> tuple[Tensor, Tensor]:
    """Which pairs show the same, and what kind of pair each is.

    objects [B, S, S] uint8, 0 = background -> same [B, P, S, S] bool, at the first cell of a pair;
    kind [B, P, S, S] int64: 0 two cells of background, 1 of one object, 2 an object's rim,
    3 two objects, -1 no pair, because the second cell lies outside.
    """
    side = objects.shape[-1]
    reach = max(max(abs(y), abs(x)) for y, x in OFFSETS)
    padded = F.pad(objects.long(), (reach,) * 4, value=-1)
    seconds = [
        padded[:, reach + y : reach + y + side, reach + x : reach + x + side] for y, x in OFFSETS
    ]
    second = torch.stack(seconds, dim=1)
    first = objects.long()[:, None].expand_as(second)
    same = first == second
    both = (first > 0).long() + (second > 0)
    kind = torch.where(same, torch.where(first > 0, 1, 0), 1 + both)
    return same, kind.masked_fill(second < 0, -1)


def pair_loss(logits: Tensor, objects: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy to which the kinds of pairs contribute alike, and accuracy on two objects.

    logits [B, P, S, S]: positive = the same; objects [B, S, S] uint8. Kinds that do not occur are
    left out; without pairs of two objects the accuracy is 0.
    """
    same, kind = pair_targets(objects)
    costs = F.binary_cross_entropy_with_logits(logits, same.float(), reduction="none")
    wanted = [kind == k for k in range(4)]
    counts = torch.stack([w.sum() for w in wanted])
    means = torch.stack([(costs * w).sum() for w in wanted]) / counts.clamp(min=1)
    right = ((logits < 0) & wanted[3]).sum() / counts[3].clamp(min=1)
    return means.sum() / (counts > 0).sum(), right

"""Which object a place belongs to, as targets for the features that the mask decoder reads.

Masks alone teach the second neck late that a neighbour is another object, and objects that touch
are then followed as one. So the two finest levels say directly where the middle of their object is
(``centres.py``), as waves which a filter of the mask decoder can compare, and a linear layer, which
is not exported, asks the coarsest level for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..centres import ANSWERS, WAVES, centre_targets, pick_cells

FINE_WAVES = (max(WAVES),)
"""Of the finest level, which has few channels: one wave and its opposite, as its activation
passes positive values only."""


def grouping_loss(levels: Sequence[Tensor], answers: Tensor, objects: Tensor) -> Tensor:
    """Mean squared error of the waves: all levels, all objects, and objects and background alike.

    levels: finest and middle one as the mask decoder adds them, [B, C, h, w]; answers
    [B, ANSWERS, h, w], read from the coarsest; objects [B, R, R] uint8, k + 1 = object k.
    """
    fine, middle = levels
    told = centre_targets(pick_cells(objects, fine.shape[-1]), FINE_WAVES)
    waves = torch.cat([told, -told], dim=1)
    pairs = (
        (fine[:, : waves.shape[1]], waves[:, : fine.shape[1]]),
        (middle[:, :ANSWERS], _waves(objects, middle)[:, : middle.shape[1]]),
        (answers, _waves(objects, answers)),
    )
    losses = [
        _balanced((given - wanted).square().mean(1), pick_cells(objects, given.shape[-1]))
        for given, wanted in pairs
    ]
    return torch.stack(losses).mean()


def _waves(objects: Tensor, level: Tensor) -> Tensor:
    return centre_targets(pick_cells(objects, level.shape[-1]))


def _balanced(errors: Tensor, objects: Tensor) -> Tensor:
    """Half for the background, half for objects, large or small."""
    count = int(objects.max())
    own = F.one_hot(objects.long(), count + 1)[..., 1:].to(errors.dtype)
    cells = own.sum((1, 2))
    means = torch.einsum("bhw,bhwn->bn", errors, own) / cells.clamp(min=1)
    there = (cells > 0).sum().clamp(min=1)
    ground = (objects == 0).to(errors.dtype)
    return (means.sum() / there + (errors * ground).sum() / ground.sum().clamp(min=1)) / 2

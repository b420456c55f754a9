"""The middle of the object that a cell shows, as targets for the trunk.

Cells of one object name the same place, those of its neighbours another one, however alike they
look and wherever they touch: this is what a click or a memory needs to tell them apart. The middle
is told as waves, so that a product of two answers says whether they mean the same object.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

WAVES = (0.5, 1.0, 2.0)  # per side of the picture; half a wave is different everywhere
ANSWERS = 4 * len(WAVES)  # cosine and sine of each, along x and along y


Labels = TypeVar("Labels", Tensor, np.ndarray)


def pick_cells(labels: Labels, cells: int) -> Labels:
    """What is at the middle of each cell: [..., R, R] -> [..., cells, cells], a view."""
    side = labels.shape[-1] // cells
    return labels[..., side // 2 :: side, side // 2 :: side][..., :cells, :cells]


def centre_targets(objects: Tensor, waves: Sequence[float] = WAVES) -> Tensor:
    """[B, S, S] uint8, k + 1 = object k -> [B, 4 * waves, S, S] float32; background gets zeros."""
    side, count = objects.shape[-1], int(objects.max())
    shown = F.one_hot(objects.long(), count + 1)[..., 1:].float()  # [B, S, S, count]
    cells = shown.sum((1, 2)).clamp(min=1)
    along = (torch.arange(side, device=objects.device) + 0.5) / side
    x = torch.einsum("bhwn,w->bn", shown, along) / cells
    y = torch.einsum("bhwn,h->bn", shown, along) / cells
    angles = torch.stack([2 * math.pi * w * p for w in waves for p in (x, y)], dim=1)
    told = torch.cat([angles.cos(), angles.sin()], dim=1)  # [B, 4 * waves, count]
    return torch.einsum("bcn,bhwn->bchw", told, shown)


def centre_loss(answers: Tensor, objects: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean squared error of cells of objects, and how far they agree (cosine, 1 = fully).

    answers [B, ANSWERS, S, S]; objects [B, S, S] uint8; weights [B, S, S]. An answer of zeros
    costs 1. Without any object both are 0.
    """
    wanted = centre_targets(objects)
    waves = ANSWERS // 2
    counted = weights * (objects > 0)
    total = counted.sum().clamp(min=1e-6)
    errors = (answers - wanted).square().sum(1) / waves
    agreement = F.cosine_similarity(answers, wanted, dim=1)
    return (errors * counted).sum() / total, (agreement.detach() * counted).sum() / total

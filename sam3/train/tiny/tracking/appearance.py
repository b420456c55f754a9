"""Features by which the mask decoder can tell apart what touches.

Left to the masks alone, the fine features of a small model say where objects are, and not which: a
mask then shows everything around the click. The loss of De Brabandere et al. 2017
(https://arxiv.org/abs/1708.02551, section 3.1) gives the cells of an object a common feature, and
two objects of a picture different ones.
"""

from __future__ import annotations

import torch
from torch import Tensor

INSIDE = 0.8
"""A cell counts as an object's from this share on; others show two things."""
RADIUS = 0.3
"""Cells within this distance of their object's mean are near enough."""
MARGIN = 1.5
"""Means of two objects are far enough apart from this distance on."""


def appearance_loss(features: Tensor, masks: Tensor, clips: Tensor) -> Tensor:
    """Scalar: how far objects are from one feature each that no other object of the picture has.

    features [C, D, h, w] of C pictures; masks [N, h, w], share of a cell that shows the object, 0
    for what takes no part; clips [N], the picture of each object.
    """
    inside = (masks >= INSIDE).float()
    areas = inside.flatten(1).sum(1)
    there = areas > 0
    inside, areas, clips = inside[there], areas[there], clips[there]
    if not len(areas):
        return features.sum() * 0
    own = features[clips]
    means = (own * inside[:, None]).flatten(2).sum(2) / areas[:, None]
    excess = (_length(own - means[:, :, None, None]) - RADIUS).clamp(min=0)
    pull = ((excess.square() * inside).flatten(1).sum(1) / areas).mean()
    first, second = torch.nonzero((clips[:, None] == clips).triu(1), as_tuple=True)
    if not len(first):
        return pull
    lacking = (MARGIN - _length(means[first] - means[second])).clamp(min=0)
    return pull + lacking.square().mean()


def _length(x: Tensor) -> Tensor:
    """Norm over dimension 1 whose gradient is finite at 0."""
    return (x.square().sum(1) + 1e-6).sqrt()

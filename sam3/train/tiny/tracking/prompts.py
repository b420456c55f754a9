"""A simulated user: the first prompt of an object, and clicks that correct what came of it."""

from __future__ import annotations

import torch
from torch import Tensor

from ....model.utils.click_sampling import get_next_point, sample_box_points

Points = dict[str, Tensor]
"""``point_coords`` [N, P, 2] (x, y) in pixels of the masks, and ``point_labels`` [N, P]."""


def first_points(
    prompt: str, masks: Tensor, centred: bool, generator: torch.Generator | None
) -> Points:
    """A box, loosely drawn, or one click on each object; masks bool [N, 1, R, R]."""
    if prompt == "box":
        coords, labels = sample_box_points(masks, generator=generator)
    else:
        coords, labels = _click(masks, None, centred, generator)
    return {"point_coords": coords, "point_labels": labels}


def add_correction(
    points: Points,
    masks: Tensor,
    predicted: Tensor,
    centred: bool,
    generator: torch.Generator | None,
) -> Points:
    """``points`` and one more click per object into what ``predicted`` (bool) has wrong."""
    coords, labels = _click(masks, predicted, centred, generator)
    return {
        "point_coords": torch.cat([points["point_coords"], coords], dim=1),
        "point_labels": torch.cat([points["point_labels"], labels], dim=1),
    }


def _click(
    masks: Tensor, predicted: Tensor | None, centred: bool, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    return get_next_point(masks, predicted, "center" if centred else "uniform", generator)

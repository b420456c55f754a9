"""What every transform that moves pixels does to the boxes, points and masks of a picture."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...errors import InputError
from ..data.datapoint import Datapoint, FindQueryLoaded


def queries_about(datapoint: Datapoint, index: int) -> list[FindQueryLoaded]:
    """Queries that look at picture ``index``."""
    return [query for query in datapoint.find_queries if query.image_id == index]


def move_coordinates(
    datapoint: Datapoint, index: int, scale: tuple[float, float], shift: tuple[float, float]
) -> None:
    """x * scale + shift for all corners and points of picture ``index``, in place.

    scale, shift: (x, y). Boxes in pixels as xyxy; the objects' become [1, 4], those of prompts
    keep their shape [n, 4].
    """
    factor, offset = torch.tensor(scale * 2), torch.tensor(shift * 2)
    for item in datapoint.images[index].objects:
        item.bbox = item.bbox.view(-1, 4) * factor + offset
    for query in queries_about(datapoint, index):
        if query.input_bbox is not None:
            query.input_bbox = query.input_bbox * factor + offset
        if query.input_points is not None:
            moved = query.input_points.clone()
            moved[..., :2] = moved[..., :2] * factor[:2] + offset[:2]
            query.input_points = moved


def map_masks(datapoint: Datapoint, index: int, change: Callable[[Tensor], Tensor]) -> None:
    """Apply ``change`` ([1, H, W] -> [1, H', W']) to all masks of picture ``index``, in place.

    Raises InputError for masks that are still run lengths.
    """
    for item in datapoint.images[index].objects:
        if item.segment is None:
            continue
        if not isinstance(item.segment, Tensor):
            raise InputError("masks must be decoded before pictures change; put DecodeRle first")
        item.segment = change(item.segment[None])[0]
    for query in queries_about(datapoint, index):
        if query.semantic_target is not None:
            query.semantic_target = change(query.semantic_target[None])[0]

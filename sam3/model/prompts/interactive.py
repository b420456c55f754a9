"""Prompts for the interactive predictor, checked: from what a caller writes to tensors.

Only decides; no model is needed. Every bad prompt is an InputError that says what is allowed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...errors import InputError

NO_POINT, BACKGROUND, FOREGROUND, BOX_FIRST, BOX_SECOND = -1, 0, 1, 2, 3
POINT_LABELS = (NO_POINT, BACKGROUND, FOREGROUND, BOX_FIRST, BOX_SECOND)


@dataclass(frozen=True)
class InteractivePrompt:
    """N prompts on one picture, each for one object.

    points: [N, P, 2] float32 (x, y) in the caller's units, box corners first; None without any.
    labels: [N, P] int32 of ``POINT_LABELS``; None without points.
    masks: [N, 1, h, w] float32 logits of an earlier prediction, or None.
    """

    points: Tensor | None
    labels: Tensor | None
    masks: Tensor | None


def check_prompt(
    point_coords: Any,
    point_labels: Any,
    box: Any,
    mask_input: Any,
    *,
    extent: tuple[float, float],
    mask_size: tuple[int, int],
) -> InteractivePrompt:
    """Check prompts and bring them into one form.

    point_coords: [P, 2] or [N, P, 2] (x, y), inside the picture. point_labels: [P] or [N, P].
    box: [4] or [N, 4] (x0, y0, x1, y1), not empty. mask_input: [1, h, w] or [N, 1, h, w] logits.
    Arrays, tensors or lists; any may be None. extent: the picture's (width, height) in the units
    of the coordinates. mask_size: the (h, w) that a mask must have.
    """
    points, labels = _points(point_coords, point_labels, extent)
    boxes = _boxes(box, extent)
    masks = _masks(mask_input, mask_size)
    if points is not None and boxes is not None and len(points) != len(boxes):
        raise InputError(
            f"points for {len(points)} objects but {len(boxes)} boxes; give every box its own"
            " points, [N, P, 2], or leave one of the two out"
        )
    if boxes is not None:
        corners = boxes.reshape(-1, 2, 2)
        kinds = torch.tensor([[BOX_FIRST, BOX_SECOND]], dtype=torch.int32).repeat(len(boxes), 1)
        points = corners if points is None else torch.cat([corners, points], dim=1)
        labels = kinds if labels is None else torch.cat([kinds, labels], dim=1)
    if points is not None and masks is not None and len(masks) not in (1, len(points)):
        raise InputError(
            f"{len(masks)} masks for {len(points)} objects; give one mask, or one per object"
        )
    if points is not None and masks is not None:
        masks = masks.expand(len(points), -1, -1, -1)
    return InteractivePrompt(points, labels, masks)


def _points(
    coords: Any, labels: Any, extent: tuple[float, float]
) -> tuple[Tensor | None, Tensor | None]:
    if coords is None and labels is None:
        return None, None
    if coords is None or labels is None:
        missing = "point_labels" if labels is None else "point_coords"
        raise InputError(
            f"{missing} is missing: every point needs a label, 1 for foreground, 0 for background"
        )
    points, kinds = _tensor(coords, "point_coords"), _tensor(labels, "point_labels")
    points = points[None] if points.ndim == 2 else points
    kinds = kinds[None] if kinds.ndim == 1 else kinds
    if points.ndim != 3 or points.shape[-1] != 2 or 0 in points.shape:
        raise InputError(
            "point_coords must be [P, 2] or [N, P, 2] with at least one point,"
            f" got {list(_tensor(coords, 'point_coords').shape)}"
        )
    if kinds.shape != points.shape[:2]:
        raise InputError(
            f"point_labels must be one number per point, {list(points.shape[:2])},"
            f" got {list(kinds.shape)}"
        )
    if not torch.isin(kinds, torch.tensor(POINT_LABELS, dtype=kinds.dtype)).all():
        raise InputError(
            f"point_labels must be among {POINT_LABELS} (1 foreground, 0 background, 2 and 3 box"
            f" corners, -1 no point), got {sorted(set(kinds.flatten().tolist()))}"
        )
    width, height = extent
    inside = (points >= 0) & (points <= points.new_tensor([width, height]))
    outside = ~inside.all(-1) & (kinds != NO_POINT)
    if outside.any():
        raise InputError(
            f"point {points[outside][0].tolist()} lies outside the picture; allowed is"
            f" 0 to {width:g} for x and 0 to {height:g} for y"
        )
    return points, kinds.to(torch.int32)


def _boxes(box: Any, extent: tuple[float, float]) -> Tensor | None:
    if box is None:
        return None
    boxes = _tensor(box, "box")
    boxes = boxes[None] if boxes.ndim == 1 else boxes
    if boxes.ndim != 2 or boxes.shape[-1] != 4 or not len(boxes):
        raise InputError(f"box must be [4] or [N, 4], got {list(_tensor(box, 'box').shape)}")
    empty = (boxes[:, 2:] <= boxes[:, :2]).any(-1)
    if empty.any():
        raise InputError(
            f"box {boxes[empty][0].tolist()} is empty; a box is (x0, y0, x1, y1) with x0 < x1"
            " and y0 < y1"
        )
    outside = (boxes[:, :2] >= boxes.new_tensor(extent)).any(-1) | (boxes[:, 2:] <= 0).any(-1)
    if outside.any():
        raise InputError(
            f"box {boxes[outside][0].tolist()} lies outside the picture, which is"
            f" {extent[0]:g} wide and {extent[1]:g} high"
        )
    return boxes


def _masks(mask_input: Any, size: tuple[int, int]) -> Tensor | None:
    if mask_input is None:
        return None
    masks = _tensor(mask_input, "mask_input")
    masks = masks[None] if masks.ndim == 3 else masks
    if masks.ndim != 4 or tuple(masks.shape[1:]) != (1, *size) or not len(masks):
        raise InputError(
            f"mask_input must be [1, {size[0]}, {size[1]}] logits (low_res of an earlier"
            f" prediction), got {list(_tensor(mask_input, 'mask_input').shape)}"
        )
    return masks


def _tensor(values: Any, name: str) -> Tensor:
    """Numbers of any kind as a finite float32 tensor on the CPU."""
    try:
        tensor = torch.as_tensor(values, dtype=torch.float32).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name} must be an array of numbers: {error}") from error
    if not torch.isfinite(tensor).all():
        raise InputError(f"{name} must be finite, got {tensor.tolist()}")
    return tensor

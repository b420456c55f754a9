"""From a caller's points, box or mask to what the model takes; everything is checked here first."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor

from ...errors import InputError
from .state import PointInputs

_LOG = logging.getLogger(__name__)

BOX_LABELS = (2, 3)
"""Labels of a box's top-left and bottom-right corner."""
ALLOWED_LABELS = (-1, 0, 1, 2, 3)


def parse_points_and_box(
    points: Any,
    labels: Any,
    box: Any,
    *,
    clear_old_points: bool,
    rel_coordinates: bool,
    image_size: int,
    device: torch.device,
) -> PointInputs:
    """Points and box of one call, as points in pixels of the model's input picture.

    Args:
        points: ``[P, 2]`` or ``[1, P, 2]`` (x, y); fractions of the picture if
            ``rel_coordinates``, else pixels of the ``image_size`` square.
        labels: ``[P]`` or ``[1, P]``: 1 on the object, 0 not on it.
        box: ``[4]`` (x0, y0, x1, y1) in the same units; becomes the two leading points.

    Raises:
        InputError: nothing given, points without labels, a box that should be added to old
            points, wrong shapes, a point outside the picture, an empty box.
    """
    if (points is None) != (labels is None):
        raise InputError("points and labels must be given together: one label for each point")
    if points is None and box is None:
        raise InputError("at least one of points or box is needed")
    if box is not None and not clear_old_points:
        raise InputError(
            "a box comes before any points, so it cannot be added to earlier ones; "
            "pass clear_old_points=True, with all the points to use"
        )
    limit = 1.0 if rel_coordinates else float(image_size)
    coords, kinds = _points(points, labels, limit) if points is not None else _no_points()
    if box is not None:
        corners = _box(box, limit)
        coords = torch.cat([corners, coords])
        kinds = torch.cat([torch.tensor(BOX_LABELS, dtype=torch.int32), kinds])
    if rel_coordinates:
        coords = coords * image_size
    return PointInputs(coords[None].to(device), kinds[None].to(device))


def add_points(old: PointInputs | None, new: PointInputs) -> PointInputs:
    """The old points followed by the new ones."""
    if old is None:
        return new
    return PointInputs(
        torch.cat([old.point_coords, new.point_coords], dim=1),
        torch.cat([old.point_labels, new.point_labels], dim=1),
    )


def limit_points(inputs: PointInputs, max_points: int) -> PointInputs:
    """The first and the last half of ``max_points`` points, if there are more; warns then."""
    count = inputs.point_labels.shape[1]
    if max_points <= 0 or count <= max_points:
        return inputs
    first = max_points // 2
    last = max_points - first
    _LOG.warning(
        "an object has %d points on one frame, more than the %d that are used; "
        "keeping the first %d and the last %d",
        count, max_points, first, last,
    )  # fmt: skip
    keep = [*range(first), *range(count - last, count)]
    return PointInputs(inputs.point_coords[:, keep], inputs.point_labels[:, keep])


def parse_mask(mask: Any) -> Tensor:
    """A mask prompt as float32 ``[1, 1, h, w]`` on its own device.

    Args:
        mask: ``[h, w]`` bool or numbers in 0..1; any size, the session resizes it.

    Raises:
        InputError: not two-dimensional, empty, or with values that are no numbers.
    """
    tensor = torch.as_tensor(mask)
    if tensor.ndim != 2 or 0 in tensor.shape:
        raise InputError(
            f"a mask must be [height, width] with at least one pixel, got {list(tensor.shape)}; "
            "pass the masks of several objects one by one"
        )
    tensor = tensor.float()
    if not bool(torch.isfinite(tensor).all()):
        raise InputError("a mask must hold finite numbers from 0 to 1, or bools")
    return tensor[None, None]


def _no_points() -> tuple[Tensor, Tensor]:
    return torch.zeros(0, 2), torch.zeros(0, dtype=torch.int32)


def _points(points: Any, labels: Any, limit: float) -> tuple[Tensor, Tensor]:
    coords = _numbers(points, "points")
    coords = coords[0] if coords.ndim == 3 and coords.shape[0] == 1 else coords
    kinds = _numbers(labels, "labels")
    kinds = kinds[0] if kinds.ndim == 2 and kinds.shape[0] == 1 else kinds
    if coords.ndim != 2 or coords.shape[1] != 2 or kinds.shape != coords.shape[:1]:
        raise InputError(
            "points must be [P, 2] with labels [P], got "
            f"{list(coords.shape)} and {list(kinds.shape)}"
        )
    if not coords.shape[0]:
        raise InputError("the list of points is empty; give at least one point, or a box")
    if not all(label in ALLOWED_LABELS for label in kinds.tolist()):
        raise InputError(f"labels must be 1 (on the object) or 0 (not on it), got {kinds.tolist()}")
    outside = ((coords < 0) | (coords > limit)).any(dim=1) & (kinds >= 0)
    if bool(outside.any()):
        first = coords[outside][0].tolist()
        units = "fractions of the picture" if limit == 1 else "pixels of the model's picture"
        raise InputError(
            f"point {first} lies outside the picture; allowed is 0 to {limit:g} for x and y, "
            f"in {units}"
        )
    return coords, kinds.to(torch.int32)


def _box(box: Any, limit: float) -> Tensor:
    values = _numbers(box, "a box")
    if values.numel() != 4:
        raise InputError(f"a box is (x0, y0, x1, y1), got {list(values.shape)} values")
    x0, y0, x1, y1 = values.flatten().tolist()
    if x1 <= x0 or y1 <= y0:
        raise InputError(f"box {[x0, y0, x1, y1]} is empty: x1 > x0 and y1 > y0 are needed")
    if x1 <= 0 or y1 <= 0 or x0 >= limit or y0 >= limit:
        raise InputError(
            f"box {[x0, y0, x1, y1]} lies outside the picture; allowed is 0 to {limit:g}"
        )
    return values.reshape(2, 2)


def _numbers(values: Any, what: str) -> Tensor:
    """float32 tensor on the CPU. InputError for anything that holds no finite numbers."""
    try:
        tensor = torch.as_tensor(values, dtype=torch.float32).cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{what} must be numbers in one regular list: {error}") from error
    if not bool(torch.isfinite(tensor).all()):
        raise InputError(f"{what} must be finite numbers, got {tensor.tolist()}")
    return tensor

"""Simulated user input: boxes drawn inaccurately, clicks into a mask or a box.

Boxes are xyxy in pixels, sizes (h, w), points rows of (x, y, label) with 1 = positive and 0 =
negative. Boxes draw from torch's random numbers, points from numpy's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import InputError
from ...model.box_ops import box_area
from ..data.datapoint import Datapoint


def noise_box(
    box: Tensor,
    im_size: Sequence[int],
    box_noise_std: float,
    box_noise_max: float | None = None,
    min_box_area: float = 0.0,
) -> Tensor:
    """Move every side of a box at random.

    Args:
        box: float32 [4].
        im_size: (h, w) of the picture, where the box must end.
        box_noise_std: standard deviation as a share of the width (left, right) or height.
        box_noise_max: bound of each move in pixels, None = none.
        min_box_area: a result of this area or less is given up for ``box``.

    Returns:
        float32 [4].
    """
    if box_noise_std <= 0:
        return box
    size = (box[2:] - box[:2]).repeat(2)
    noise = torch.randn(4) * size * box_noise_std
    if box_noise_max is not None:
        noise = noise.clamp(-box_noise_max, box_noise_max)
    height, width = im_size
    limit = torch.tensor([width, height] * 2, dtype=box.dtype)
    moved = torch.minimum((box + noise).clamp(min=0), limit)
    left, top, right, bottom = moved.tolist()
    inverted = right <= left or bottom <= top  # two negative sides have a positive area
    return box if inverted or box_area(moved) <= min_box_area else moved


def rescale_box_xyxy(
    box: Sequence[float] | Tensor, factor: float, imsize: Sequence[int] | None = None
) -> list[float]:
    """Scale a box about its centre.

    Args:
        box: [4].
        factor: by which width and height grow.
        imsize: (h, w) of the picture, where the result must end; None = no limit.

    Returns:
        The four sides as floats.
    """
    left, top, right, bottom = (float(v) for v in box)
    cx, cy = (left + right) / 2, (top + bottom) / 2
    w, h = (right - left) * factor, (bottom - top) * factor
    scaled = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
    if imsize is None:
        return scaled
    height, width = imsize
    return [
        min(max(v, 0.0), float(end)) for v, end in zip(scaled, [width, height] * 2, strict=True)
    ]


def uniform_positive_sample(mask: np.ndarray, n_points: int) -> np.ndarray:
    """Positive clicks drawn evenly from a mask, with repetition.

    Args:
        mask: [H, W], anything but 0 is inside.
        n_points: how many.

    Returns:
        float64 [n_points, 3], label 1.

    Raises:
        InputError: the mask is empty.
    """
    rows, columns = np.nonzero(_filled(mask))
    chosen = np.random.randint(0, len(rows), n_points)
    return np.stack([columns[chosen], rows[chosen], np.ones(n_points)], axis=1)


def center_positive_sample(mask: np.ndarray, n_points: int) -> np.ndarray:
    """Positive clicks into the middle of a mask.

    Each is the pixel farthest from the mask's border, the picture's edge and the earlier clicks.
    Arguments, result and errors as in :func:`uniform_positive_sample`. A mask with fewer pixels
    than clicks is started again.
    """
    from scipy.ndimage import distance_transform_edt

    free = np.pad(_filled(mask), 1)
    points = np.ones((n_points, 3))
    for point in points:
        if not free.any():
            free = np.pad(_filled(mask), 1)
        row, column = np.unravel_index(distance_transform_edt(free).argmax(), free.shape)
        free[row, column] = False
        point[:2] = column - 1, row - 1
    return points


def uniform_sample_from_box(
    mask: np.ndarray, box: Sequence[float] | Tensor, n_points: int
) -> np.ndarray:
    """Clicks drawn evenly from a box, labelled by the mask.

    Args:
        mask: [H, W], anything but 0 is inside.
        box: [4], its right and bottom exclusive; it is cut down to whole pixels of the mask.
        n_points: how many.

    Returns:
        int64 [n_points, 3], label 1 inside the mask and 0 outside.

    Raises:
        InputError: the box holds no pixel.
    """
    height, width = mask.shape
    left, top = (max(int(v), 0) for v in box[:2])
    right, bottom = min(int(box[2]), width), min(int(box[3]), height)
    if right <= left or bottom <= top:
        raise InputError(
            f"the box {[float(v) for v in box]} holds no pixel of a {width} x {height} mask; boxes "
            "are left, top, right, bottom"
        )
    columns = np.random.randint(left, right, n_points)
    rows = np.random.randint(top, bottom, n_points)
    labels = (mask[rows, columns] != 0).astype(np.int64)
    return np.stack([columns, rows, labels], axis=1)


def _filled(mask: np.ndarray) -> np.ndarray:
    inside = np.asarray(mask) != 0
    if not inside.any():
        raise InputError("clicks into an empty mask are impossible; skip objects without pixels")
    return inside


class RandomizeInputBbox:
    """Makes boxes that prompt inaccurate: see :func:`noise_box` for the settings.

    It runs on boxes in pixels, thus before ``NormalizeAPI``.
    """

    def __init__(
        self, box_noise_std: float, box_noise_max: float | None = None, min_box_area: float = 0.0
    ) -> None:
        self.box_noise_std = box_noise_std
        self.box_noise_max = box_noise_max
        self.min_box_area = min_box_area

    def __call__(self, datapoint: Datapoint, **_kwargs: Any) -> Datapoint:
        """Replace the boxes of all queries that have some, in place."""
        for query in datapoint.find_queries:
            if query.input_bbox is None:
                continue
            boxes = [
                noise_box(
                    box,
                    datapoint.images[query.image_id].size,
                    self.box_noise_std,
                    self.box_noise_max,
                    self.min_box_area,
                )
                for box in query.input_bbox.view(-1, 4)
            ]
            query.input_bbox = torch.stack(boxes)
        return datapoint

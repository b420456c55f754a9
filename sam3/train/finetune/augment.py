"""Random changes of a training picture, its boxes and its masks: mirror, turn, zoom, light."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from ...errors import InputError
from ..data.datapoint import Datapoint, Image, Object

Matrix = tuple[float, float, float, float, float, float]  # x' = ax + by + c, y' = dx + ey + f

_MIN_VISIBLE = 0.25  # objects of which less is left in the picture are dropped


class RandomAffine:
    """Mirror, turn, zoom and shift every picture; its size stays. Needs boxes in pixels (xyxy).

    Boxes follow the masks. Objects without a mask keep their box, which a turn widens; so pictures
    with such objects are turned by quarter turns at most where ``degrees`` allows them, else not.

    Args:
        flip: probability of mirroring left and right.
        degrees: largest turn to either side.
        zoom: largest factor, bigger or smaller; 1 = none.
    """

    def __init__(self, flip: float = 0.5, degrees: float = 0.0, zoom: float = 1.0) -> None:
        if not (0 <= flip <= 1 and 0 <= degrees <= 180 and zoom >= 1):
            raise InputError(
                "flip must be in [0, 1], degrees in [0, 180] and zoom at least 1, got "
                f"{flip}, {degrees} and {zoom}"
            )
        self.flip, self.degrees, self.zoom = flip, degrees, zoom

    def __call__(self, datapoint: Datapoint, **_kwargs: Any) -> Datapoint:
        """Change in place; draws from Python's ``random``."""
        for number, image in enumerate(datapoint.images):
            kept = self._change(image)
            _keep_objects(datapoint, number, kept)
        return datapoint

    def _change(self, image: Image) -> list[int]:
        """Indices of the objects that are still to be seen."""
        matrix = self._draw(image)
        height, width = image.size
        data = image.data
        assert isinstance(data, PIL.Image.Image)  # transforms of tensors come later
        fill = tuple(int(v) for v in np.asarray(data).reshape(-1, 3).mean(0))
        back = _inverse(matrix)
        image.data = data.transform(
            (width, height),
            PIL.Image.Transform.AFFINE,
            back,
            PIL.Image.Resampling.BILINEAR,
            fillcolor=fill,
        )
        return [n for n, item in enumerate(image.objects) if _move(item, matrix, back, image.size)]

    def _draw(self, image: Image) -> Matrix:
        """The forward map of pixels, around the centre of the picture."""
        height, width = image.size
        angle = math.radians(random.uniform(-self.degrees, self.degrees))
        if any(item.segment is None for item in image.objects):
            quarters = round(angle / (math.pi / 2)) if height == width else 0
            angle = quarters * math.pi / 2
        scale = self.zoom ** random.uniform(-1, 1)
        mirror = -1.0 if random.random() < self.flip else 1.0
        cos, sin = math.cos(angle) * scale, math.sin(angle) * scale
        room = abs(1 - scale) / 2
        centre = width / 2, height / 2
        x = centre[0] + random.uniform(-room, room) * width
        y = centre[1] + random.uniform(-room, room) * height
        a, b, d, e = mirror * cos, -sin, mirror * sin, cos
        return a, b, x - a * centre[0] - b * centre[1], d, e, y - d * centre[0] - e * centre[1]


class RandomTone:
    """Change brightness, contrast and gamma of pictures by at most ``amount`` (0.1 = 10 %)."""

    def __init__(self, amount: float = 0.1) -> None:
        self.amount = amount

    def __call__(self, datapoint: Datapoint, **_kwargs: Any) -> Datapoint:
        """Change in place; draws from Python's ``random``."""
        for image in datapoint.images:
            gamma, contrast, gain = (1 + random.uniform(-1, 1) * self.amount for _ in range(3))
            level = np.linspace(0, 1, 256) ** gamma
            level = ((level - 0.5) * contrast + 0.5) * gain
            table = np.clip(np.rint(level * 255), 0, 255).astype(int).tolist()
            assert isinstance(image.data, PIL.Image.Image)
            image.data = image.data.point(table * 3)
        return datapoint


def _inverse(m: Matrix) -> Matrix:
    a, b, c, d, e, f = m
    det = a * e - b * d
    ia, ib, id_, ie = e / det, -b / det, -d / det, a / det
    return ia, ib, -(ia * c + ib * f), id_, ie, -(id_ * c + ie * f)


def _move(item: Object, matrix: Matrix, back: Matrix, size: tuple[int, int]) -> bool:
    """Move an object; False if too little of it is left."""
    height, width = size
    corners = item.bbox.reshape(4)
    box = _moved_box(corners, matrix)
    whole = float((box[2] - box[0]) * (box[3] - box[1]))
    limit = torch.tensor([width, height] * 2, dtype=box.dtype)
    box = torch.minimum(box.clamp(min=0), limit)
    left = float((box[2] - box[0]).clamp(min=0) * (box[3] - box[1]).clamp(min=0))
    if whole <= 0 or left < _MIN_VISIBLE * whole:
        return False
    if isinstance(item.segment, Tensor):
        mask = PIL.Image.fromarray(item.segment.numpy().astype(np.uint8) * 255)
        moved = mask.transform((width, height), PIL.Image.Transform.AFFINE, back)
        item.segment = torch.from_numpy((np.asarray(moved) > 127).astype(np.uint8))
        rows, columns = item.segment.any(1).nonzero(), item.segment.any(0).nonzero()
        if not len(rows):
            return False
        box = torch.tensor(
            [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1],
            dtype=box.dtype,
        )
    item.bbox = box
    item.area = float((box[2] - box[0]) * (box[3] - box[1])) / (width * height)
    return True


def _moved_box(box: Tensor, matrix: Matrix) -> Tensor:
    """The xyxy box around the moved corners of an xyxy box."""
    a, b, c, d, e, f = matrix
    x, y = box[[0, 2, 0, 2]], box[[1, 1, 3, 3]]
    moved_x, moved_y = a * x + b * y + c, d * x + e * y + f
    return torch.stack([moved_x.min(), moved_y.min(), moved_x.max(), moved_y.max()])


def _keep_objects(datapoint: Datapoint, number: int, kept: list[int]) -> None:
    """Drop the other objects of a picture, and their indices from the queries about it."""
    image = datapoint.images[number]
    new = {old: index for index, old in enumerate(kept)}
    image.objects = [image.objects[i] for i in kept]
    for query in datapoint.find_queries:
        if query.image_id == number:
            query.object_ids_output = [new[i] for i in query.object_ids_output if i in new]

"""Padding pictures to one size."""

from __future__ import annotations

import random
from typing import Any

import torchvision.transforms.v2.functional as TF

from ...errors import InputError
from ..data.datapoint import Datapoint
from .geometry import map_masks, move_coordinates


def pad(datapoint: Datapoint, index: int, size: int, left: int, top: int) -> Datapoint:
    """Put picture ``index`` into a black square of ``size`` at (left, top), in place.

    Raises InputError if it does not fit.
    """
    image = datapoint.images[index]
    height, width = image.size
    border = [left, top, size - width - left, size - height - top]
    if min(border) < 0:
        raise InputError(
            f"a picture of {width} x {height} pixels does not fit into {size} x {size} at "
            f"({left}, {top}); resize it before padding"
        )
    image.data = TF.pad(image.data, border)
    move_coordinates(datapoint, index, (1.0, 1.0), (float(left), float(top)))
    map_masks(datapoint, index, lambda mask: TF.pad(mask, border))
    image.size = (size, size)
    return datapoint


class PadToSizeAPI:
    """Pad every picture to a square of ``size`` pixels at a random place.

    Args:
        size: side of the square.
        consistent_transform: one place for all pictures of a datapoint (frames of a video).
        bottom_right: put all padding to the right and below.
    """

    def __init__(
        self, size: int, consistent_transform: bool = False, bottom_right: bool = False
    ) -> None:
        self.size = size
        self.consistent_transform = consistent_transform
        self.bottom_right = bottom_right

    def __call__(self, datapoint: Datapoint, **_kwargs: Any) -> Datapoint:
        """Pad in place; draws left, then top from Python's ``random``.

        Raises InputError if a picture is larger than the square, or if one place is wanted for
        pictures of different sizes.
        """
        sizes = {image.size for image in datapoint.images}
        if self.consistent_transform and len(sizes) > 1:
            raise InputError(
                f"one place for all pictures needs one size, got {sorted(sizes)}; resize with "
                "consistent_transform and square, too"
            )
        place = None
        for index in range(len(datapoint.images)):
            if place is None or not self.consistent_transform:
                place = self._draw(datapoint.images[index].size)
            pad(datapoint, index, self.size, *place)
        return datapoint

    def _draw(self, size: tuple[int, int]) -> tuple[int, int]:
        if self.bottom_right:
            return 0, 0
        room = [max(self.size - side, 0) for side in reversed(size)]
        return random.randint(0, room[0]), random.randint(0, room[1])

"""Resizing pictures with all that belongs to them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torchvision.transforms.v2.functional as TF
from torch import Tensor
from torchvision.transforms import InterpolationMode

from ...errors import InputError
from ..data.datapoint import Datapoint
from .basic import get_size_with_aspect_ratio
from .geometry import map_masks, move_coordinates


def resize(
    datapoint: Datapoint, index: int, size: int, max_size: int | None = None, square: bool = False
) -> Datapoint:
    """Resize picture ``index`` in place, bilinearly; a mask keeps pixels covered by more than half.

    Args:
        datapoint: with boxes in pixels and decoded masks.
        index: which picture.
        size: of both sides if ``square`` (the aspect ratio is given up), else of the shortest.
        max_size: bound of the longest side; without meaning for squares.
        square: see size.
    """
    image = datapoint.images[index]
    height, width = image.size
    new = (size, size) if square else get_size_with_aspect_ratio((width, height), size, max_size)
    scale = new[1] / width, new[0] / height

    def resize_mask(mask: Tensor) -> Tensor:
        return (_bilinear(mask.float(), new) > 0.5).to(mask.dtype)

    image.data = _bilinear(image.data, new)
    move_coordinates(datapoint, index, scale, (0.0, 0.0))
    map_masks(datapoint, index, resize_mask)
    for item in image.objects:
        item.area *= scale[0] * scale[1]
    image.size = new
    return datapoint


def _bilinear(picture: Any, size: tuple[int, int]) -> Any:
    """PIL or float [C, H, W], antialiased where it shrinks."""
    return TF.resize(picture, list(size), interpolation=InterpolationMode.BILINEAR, antialias=True)


class RandomResizeAPI:
    """Resize every picture to a side drawn from ``sizes``.

    Args:
        sizes: one side or several to draw from, in pixels.
        consistent_transform: one draw for all pictures of a datapoint (frames of a video).
        max_size: bound of the longest side, None = none.
        square: give up the aspect ratio.
    """

    def __init__(
        self,
        sizes: int | Sequence[int],
        consistent_transform: bool = False,
        max_size: int | None = None,
        square: bool = False,
    ) -> None:
        """Raises InputError for no sizes, or sizes below 1."""
        self.sizes = [sizes] if isinstance(sizes, int) else list(sizes)
        if not self.sizes or min(self.sizes) < 1:
            raise InputError(f"sizes must be one or more sides of at least 1 pixel, got {sizes}")
        self.consistent_transform = consistent_transform
        self.max_size = max_size
        self.square = square

    def __call__(self, datapoint: Datapoint, **_kwargs: Any) -> Datapoint:
        """Resize in place; draws from Python's ``random``."""
        shared = random.choice(self.sizes) if self.consistent_transform else None
        for index in range(len(datapoint.images)):
            size = random.choice(self.sizes) if shared is None else shared
            resize(datapoint, index, size, self.max_size, self.square)
        return datapoint

"""Sizes that the resize transforms draw from or aim at."""

from __future__ import annotations

from ...errors import InputError


def get_random_resize_scales(size: int, min_size: int, rounded: bool) -> list[int]:
    """Sides to draw from: multiples of 32 (128 if ``rounded``) from ``min_size`` to ``size``.

    Raises InputError where no multiple lies between.
    """
    stride = 128 if rounded else 32
    first = -(-min_size // stride) * stride
    if first > size or first < 1:
        raise InputError(
            f"no multiple of {stride} lies between min_size = {min_size} and size = {size}; lower "
            "min_size"
        )
    return list(range(first, size + 1, stride))


def get_random_resize_max_size(size: int) -> int:
    """Longest side allowed where the shortest is ``size``: 5/3 of it, rounded."""
    return round(size * 5 / 3)


def get_size_with_aspect_ratio(
    image_size: tuple[int, int], size: int, max_size: int | None = None
) -> tuple[int, int]:
    """Size that keeps the aspect ratio.

    Args:
        image_size: (w, h) of the picture.
        size: wanted length of the shortest side.
        max_size: bound of the longest side, which wins over ``size``.

    Returns:
        (h, w), as resize functions take it.
    """
    width, height = image_size
    short, long = min(width, height), max(width, height)
    if max_size is not None and size * long / short > max_size:
        short_side, long_side = round(max_size * short / long), max_size
    else:
        short_side, long_side = size, round(size * long / short)
    if width == height:
        return short_side, short_side
    return (short_side, long_side) if height < width else (long_side, short_side)

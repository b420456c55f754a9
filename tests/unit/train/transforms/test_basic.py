"""Sizes against stored values, their properties and bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sam3.errors import InputError
from sam3.train.transforms.basic import (
    get_random_resize_max_size,
    get_random_resize_scales,
    get_size_with_aspect_ratio,
)

GOLDEN = json.loads((Path(__file__).parents[3] / "golden/train/loaders.json").read_text())[
    "outputs"
]


def test_golden_scales() -> None:
    for arguments, wanted in GOLDEN["resize_scales"]:
        assert get_random_resize_scales(*arguments) == wanted
    for size, wanted in GOLDEN["resize_max"]:
        assert get_random_resize_max_size(size) == wanted


def test_golden_aspect_ratios() -> None:
    for (image, size, max_size), wanted in GOLDEN["aspect"]:
        assert list(get_size_with_aspect_ratio(tuple(image), size, max_size)) == wanted


@pytest.mark.parametrize("image", [(640, 480), (31, 977), (977, 31), (200, 201)])
def test_sides_keep_their_bounds_and_their_ratio(image: tuple[int, int]) -> None:
    height, width = get_size_with_aspect_ratio(image, 320, 533)
    assert min(height, width) <= 320 and max(height, width) <= 533
    assert min(height, width) == 320 or max(height, width) == 533
    assert height / width == pytest.approx(image[1] / image[0], rel=0.05)


def test_scales_without_a_multiple_are_an_error() -> None:
    with pytest.raises(InputError, match="no multiple of 128 lies between"):
        get_random_resize_scales(250, 140, rounded=True)

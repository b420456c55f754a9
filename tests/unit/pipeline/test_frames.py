"""Any image tensor becomes a clean RGB picture, or a message."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from sam3.errors import InputError
from sam3.pipeline.frames import check_images, clean_rgb, from_pil, to_pil

NAN, INF = float("nan"), float("inf")


def test_rgb_values_are_rounded() -> None:
    levels = torch.arange(256, dtype=torch.float32) / 255
    picture = to_pil(levels.reshape(16, 16, 1).expand(16, 16, 3))
    assert picture.mode == "RGB" and picture.size == (16, 16)
    assert np.array_equal(np.asarray(picture)[..., 0].ravel(), np.arange(256))


@pytest.mark.parametrize(
    ("value", "expected"), [(NAN, 0), (INF, 255), (-INF, 0), (-3.0, 0), (7.0, 255), (0.5, 128)]
)
def test_bad_values_are_cleaned_for_the_model(value: float, expected: int) -> None:
    assert to_pil(torch.full((2, 3, 3), value)).getpixel((0, 0)) == (expected,) * 3


def test_grey_is_repeated_and_alpha_is_dropped() -> None:
    grey = torch.rand(4, 5, 1)
    assert torch.equal(clean_rgb(grey), grey.expand(4, 5, 3))
    rgba = torch.rand(4, 5, 4)
    assert torch.equal(clean_rgb(rgba), rgba[..., :3])
    assert to_pil(grey).mode == to_pil(rgba).mode == "RGB"


def test_finite_values_are_kept_bit_by_bit() -> None:
    image = torch.tensor([[[1.75, -0.25, 1 / 3], [NAN, INF, -INF]]])
    expected = torch.tensor([[[1.75, -0.25, 1 / 3], [0.0, 1.0, 0.0]]])
    assert torch.equal(clean_rgb(image), expected)


def test_one_pixel_sides_keep_their_size() -> None:
    assert to_pil(torch.zeros(1, 64, 3)).size == (64, 1)
    assert to_pil(torch.zeros(64, 1, 3)).size == (1, 64)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK", "1"])
def test_pictures_of_any_mode_become_rgb_floats(mode: str) -> None:
    picture = Image.new("RGB", (5, 4), (255, 0, 51)).convert(mode)
    image = from_pil(picture)
    assert image.shape == (4, 5, 3) and image.dtype == torch.float32
    assert np.array_equal(np.asarray(to_pil(image)), np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("shape", [(0, 4, 5, 3), (1, 4, 5, 1), (2, 4, 5, 3), (2, 1, 1, 4)])
def test_allowed_batches(shape: tuple[int, ...]) -> None:
    check_images(torch.zeros(shape))
    check_images(torch.zeros(shape, dtype=torch.float16))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(4, 5, 3), r"\[4, 5, 3\]"),
        (torch.zeros(1, 4, 5, 2), r"C = 1 \(grey\), 3 \(RGB\) or 4"),
        (torch.zeros(1, 3, 4, 5), "got shape"),
        (torch.zeros(1, 0, 5, 3), "no pixels"),
        (torch.zeros(1, 4, 0, 3), "no pixels"),
        (torch.zeros(1, 4, 5, 3, dtype=torch.uint8), "floats"),
        (np.zeros((1, 4, 5, 3)), "ndarray"),
        (None, "NoneType"),
    ],
)
def test_refused_batches(images: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_images(images)  # type: ignore[arg-type]

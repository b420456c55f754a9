"""The overlay at every size, and its small parts."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sam3.cli.instances import Instances
from sam3.cli.overlay import (
    clip_box,
    draw_overlay,
    fit_text,
    free_row,
    instance_color,
    magnification,
    paint_mask,
)


def two_instances(width: int, height: int) -> Instances:
    masks = np.zeros((2, height, width), dtype=bool)
    masks[0, : max(1, height // 2), : max(1, width // 2)] = True
    masks[1, height // 2 :, width // 2 :] = True
    boxes = [[0, 0, width / 2, height / 2], [width / 2, height / 2, width + 9, height + 9]]
    return Instances(masks, np.array(boxes), (0.91, 0.52), ("a rather long phrase", "dog"))


@pytest.mark.parametrize(
    "size", [(1, 1), (1, 64), (64, 1), (7, 5), (96, 96), (640, 480), (2000, 30), (2048, 1365)]
)
def test_any_size_is_drawn(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, (90, 90, 90))
    overlay = draw_overlay(image, two_instances(*size))
    factor = magnification(size)
    assert overlay.size == (size[0] * factor, size[1] * factor)
    assert overlay.mode == "RGB"
    assert np.asarray(overlay).std() > 0 or size == (1, 1)
    assert image.getpixel((0, 0)) == (90, 90, 90), "the input was painted on"


@pytest.mark.parametrize(
    ("size", "factor"), [((640, 480), 1), ((96, 72), 5), ((72, 500), 3), ((2000, 30), 1)]
)
def test_small_pictures_are_magnified_for_the_letters(size: tuple[int, int], factor: int) -> None:
    assert magnification(size) == factor


def test_nothing_found_leaves_the_picture_alone() -> None:
    image = Image.new("RGB", (40, 30), (10, 20, 30))
    overlay = draw_overlay(image, Instances(np.zeros((0, 30, 40), bool), np.zeros((0, 4)), (), ()))
    np.testing.assert_array_equal(np.asarray(overlay), np.asarray(image))


def test_inside_is_tinted_contour_is_solid_outside_untouched() -> None:
    pixels = np.full((30, 30, 3), 100, dtype=np.uint8)
    mask = np.zeros((30, 30), dtype=bool)
    mask[5:25, 5:25] = True
    paint_mask(pixels, mask, (200, 0, 0), line=2)
    assert (pixels[~mask] == 100).all()
    assert (pixels[5:7, 5:25] == (200, 0, 0)).all()
    assert (pixels[10:20, 10:20] == (145, 55, 55)).all()


def test_colours_of_neighbours_differ() -> None:
    colours = [np.array(instance_color(i)) for i in range(30)]
    assert len({tuple(c) for c in colours}) == 30
    for one, other in zip(colours, colours[1:], strict=False):
        assert np.abs(one - other).sum() > 100


def test_two_labels_at_one_place_do_not_cover_each_other() -> None:
    placed: list[tuple[float, float, float, float]] = []
    for _ in range(5):
        top = free_row(10, 50, 12, [-2, 10, 8], 100, placed)
        assert 0 <= top <= 88
        placed.append((10, top, 60, top + 12))
    tops = sorted(p[1] for p in placed)
    assert all(b - a >= 12 for a, b in zip(tops, tops[1:], strict=False))


@pytest.mark.parametrize(
    ("room", "expected"),
    [(100, "red circle 0.91"), (12, "red ci… 0.91"), (6, "… 0.91"), (4, "0.91"), (1, "0.91")],
)
def test_labels_are_cut_but_never_the_score(room: int, expected: str) -> None:
    assert fit_text("red circle", "0.91", room, lambda t: float(len(t))) in (expected, "0.91")
    if room >= 12:
        assert fit_text("red circle", "0.91", room, lambda t: float(len(t))) == expected


def test_boxes_are_clipped_to_the_picture() -> None:
    assert clip_box([-5, -5, 50, 10], (20, 30)) == (0, 0, 20, 10)
    assert clip_box([40, 3, 30, 1], (20, 30)) == (20, 1, 20, 3)

"""The overlay at every size, and its small parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from sam3.cli.instances import Instance, instances_of
from sam3.cli.overlay import (
    clip_box,
    draw_overlay,
    fit_text,
    free_row,
    instance_color,
    magnification,
    paint_mask,
)
from sam3.perflib.rle import decode_rle


def two_instances(width: int, height: int) -> list[Instance]:
    masks = np.zeros((2, height, width), dtype=bool)
    masks[0, : max(1, height // 2), : max(1, width // 2)] = True
    masks[1, height // 2 :, width // 2 :] = True
    boxes = [(0, 0, width / 2, height / 2), (width / 2, height / 2, width + 9, height + 9)]
    return [
        Instance.of_mask(masks[0], boxes[0], 0.91, "a rather long phrase"),
        Instance.of_mask(masks[1], boxes[1], 0.52, "dog"),
    ]


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
    overlay = draw_overlay(image, [])
    np.testing.assert_array_equal(np.asarray(overlay), np.asarray(image))


def test_inside_is_tinted_contour_is_solid_outside_untouched() -> None:
    pixels = np.full((30, 30, 3), 100, dtype=np.uint8)
    mask = np.zeros((30, 30), dtype=bool)
    mask[5:25, 5:25] = True
    paint_mask(pixels, Instance.of_mask(mask, (5, 5, 25, 25), 0.9, "x"), (200, 0, 0), line=2)
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
    assert clip_box((-5, -5, 50, 10), (20, 30)) == (0, 0, 20, 10)
    assert clip_box((40, 3, 30, 1), (20, 30)) == (20, 1, 20, 3)


def test_an_empty_mask_is_drawn_as_its_box_alone() -> None:
    image = Image.new("RGB", (400, 400), (10, 20, 30))
    empty = Instance.of_mask(np.zeros((400, 400), bool), (100, 100, 200, 200), 0.6, "x")
    assert empty.area == 0
    pixels = np.asarray(draw_overlay(image, [empty]))
    assert (pixels[150, 150] == (10, 20, 30)).all()
    assert (pixels[100, 150] != (10, 20, 30)).any()


@pytest.mark.parametrize("lazy", [False, True])
def test_instances_of_a_result_keep_their_order(lazy: bool) -> None:
    """Masks at full size, and masks that are made from low resolution while they are read."""
    from sam3.model.grounding_results import LOW_RES, Sam3State
    from sam3.pipeline.segment import FrameResult

    low = torch.full((3, 1, 8, 8), -20.0)
    low[0, 0, :4, :4] = low[1, 0, 4:, 4:] = 20.0
    full = torch.nn.functional.interpolate(low, (32, 64), mode="bilinear").sigmoid() > 0.5
    states = []
    for part in (slice(0, 2), slice(2, 3)):
        state = Sam3State(original_height=32, original_width=64)
        state.update({LOW_RES: low[part]} if lazy else {"masks": full[part]})
        states.append(state)
    result = FrameResult(
        mask=full.any(dim=0)[0],
        boxes=torch.arange(12.0).reshape(3, 4),
        scores=torch.tensor([0.9, 0.8, 0.7]),
        phrases=("a", "a", "b"),
        best_score=0.9,
        best_phrase="a",
        states=tuple(states),
    )
    found = instances_of(result)
    assert [i.phrase for i in found] == ["a", "a", "b"]
    assert [round(i.score, 3) for i in found] == [0.9, 0.8, 0.7]
    assert found[1].box == (4.0, 5.0, 6.0, 7.0)
    for instance, mask in zip(found, full[:, 0].numpy(), strict=True):
        np.testing.assert_array_equal(decode_rle(instance.segmentation), mask)
        assert instance.area == mask.sum()
        height, width = instance.inside.shape
        part = mask[instance.top : instance.top + height, instance.left : instance.left + width]
        np.testing.assert_array_equal(instance.inside, part)

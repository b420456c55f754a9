"""Scenes repeat from their seed, masks fit pixels and objects can be told from what is behind."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from sam3.train.data.scenes.background import ALL, draw_background
from sam3.train.data.scenes.composer import MIN_AREA
from sam3.train.data.scenes.draw import coverage, place, unit_outline
from sam3.train.data.scenes.paint import draw_patch
from sam3.train.data.scenes.scene import MAX_OBJECTS, Scene, draw_scene, random_size, scene_rng
from sam3.train.data.scenes.vocabulary import COLOUR_NAMES, COLOURS, SHAPE_NAMES

_SIZES = [(96, 96), (96, 288), (300, 100), (257, 191), (400, 400)]


def _scenes(count: int, level: int = 1) -> list[Scene]:
    return [
        draw_scene(rng, random_size(rng, high=200), level)
        for rng in (scene_rng(9, index) for index in range(count))
    ]


@pytest.mark.parametrize("size", _SIZES)
@pytest.mark.parametrize("level", [0, 1])
def test_scene_is_deterministic_and_well_formed(size: tuple[int, int], level: int) -> None:
    first, second = (draw_scene(scene_rng(4, 17), size, level) for _ in range(2))
    assert np.array_equal(first.image, second.image) and np.array_equal(first.labels, second.labels)
    assert first.image.shape == (*size, 3) and first.image.dtype == np.uint8
    assert first.labels.shape == size and len(first.attributes) <= MAX_OBJECTS


def test_streams_of_training_and_evaluation_differ() -> None:
    train, held = (draw_scene(scene_rng(4, 3, held_out=h), (128, 128)).image for h in (False, True))
    assert not np.array_equal(train, held)


def test_a_scene_of_2048_pixels_is_drawn() -> None:
    scene = draw_scene(scene_rng(1, 1), (700, 2048))
    assert scene.image.shape == (700, 2048, 3)


def test_too_small_a_scene_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 32"):
        draw_scene(scene_rng(1, 1), (16, 400))


def test_masks_are_disjoint_large_enough_and_boxes_tight() -> None:
    for scene in _scenes(30):
        masks = scene.masks
        assert (masks.sum(0) <= 1).all()
        assert (masks.sum((1, 2)) >= MIN_AREA).all()
        for mask, box in zip(masks, scene.boxes, strict=True):
            rows, cols = np.nonzero(mask)
            assert box.tolist() == [cols.min(), rows.min(), cols.max() + 1, rows.max() + 1]


def test_counts_cover_zero_to_six_and_levels_differ() -> None:
    counts = {len(scene.attributes) for scene in _scenes(50)}
    assert counts == set(range(7))
    simple = _scenes(60, level=0)
    assert max(len(scene.attributes) for scene in simple) <= 3
    assert all((scene.attributes[:, 2] == 0).all() for scene in simple)


def test_pixels_inside_a_mask_have_the_objects_colour() -> None:
    """The median of an object lies in its name's range; blur and outlines excuse one in fifty."""
    wrong = checked = 0
    for scene in _scenes(100, level=0):
        for mask, (colour, _, _) in zip(scene.masks, scene.attributes, strict=True):
            wrong += not _named(np.median(scene.image[mask], axis=0), COLOUR_NAMES[colour])
            checked += 1
    assert checked > 120 and wrong <= checked / 50


def _named(rgb: np.ndarray, name: str) -> bool:
    pure = np.abs(np.array(COLOURS[name].pure, dtype=float) - rgb).max(1).min()
    return pure < 6 or _in_range(rgb, name)


def _in_range(rgb: np.ndarray, name: str) -> bool:
    import colorsys

    h, s, v = colorsys.rgb_to_hsv(*(rgb / 255))
    spec = COLOURS[name]
    low, high = spec.hue
    hue = (h * 360 - low) % 360 <= high - low + 4 or s < 0.08 or v < 0.16
    saturated = spec.saturation[0] - 0.05 <= s <= spec.saturation[1] + 0.05
    bright = spec.value[0] - 0.05 <= v <= spec.value[1] + 0.05
    return (hue and saturated and bright) or (name == "black" and v < 0.2)


def test_object_differs_from_its_surroundings() -> None:
    """Just inside and just outside an object's rim, colours differ (noise-free scenes)."""
    from scipy.ndimage import binary_dilation, binary_erosion

    weak = total = 0
    for scene in _scenes(60, level=0):
        for mask in scene.masks:
            inside = mask & ~binary_erosion(mask, iterations=2)
            outside = binary_dilation(mask, iterations=2) & ~mask
            gap = np.abs(scene.image[inside].mean(0) - scene.image[outside].mean(0)).max()
            weak += gap < 20
            total += 1
    assert total > 60 and weak <= 0.03 * total


@pytest.mark.parametrize("shape", SHAPE_NAMES)
def test_every_shape_fits_the_unit_circle_and_has_area(shape: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        rings = unit_outline(shape, rng)
        assert np.linalg.norm(rings[0], axis=1).max() <= 1.42
        moved = [ring + 32 for ring in place(rings, 20, 0.3, 1.1)]
        assert coverage(moved, (64, 64), 4).sum() > 150


def test_ring_has_a_hole_and_cross_four_arms() -> None:
    rng = np.random.default_rng(0)
    ring = coverage([r * 20 + 32 for r in unit_outline("ring", rng)], (64, 64), 4)
    assert ring[32, 32] == 0 and ring.max() == 1
    cross = coverage([r * 20 + 32 for r in unit_outline("cross", rng)], (64, 64), 4) > 0.5
    for turned in (np.rot90(cross), cross[::-1], cross[:, ::-1]):
        assert (turned ^ cross).mean() < 0.03
    assert cross[32, 14:50].all() and cross[14:50, 32].all() and not cross[18, 18]


def test_circle_coverage_has_the_area_of_a_circle() -> None:
    circle = coverage(
        [r * 20 + 32 for r in unit_outline("circle", np.random.default_rng(0))], (64, 64), 4
    )
    assert circle.sum() == pytest.approx(np.pi * 400, rel=0.02)


def test_unknown_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown shape 'heart'"):
        unit_outline("heart", np.random.default_rng(0))


def test_pattern_leaves_the_main_colour_in_the_majority() -> None:
    for colour, pattern, seed in itertools.product(range(8), (1, 2), range(6)):
        rng = np.random.default_rng(seed)
        rings = [ring * 30 + 40 for ring in unit_outline("square", rng)]
        patch = draw_patch(colour, pattern, rings, (80, 80), 30.0, rng, plain=True)
        pixels = patch.rgb[25:55, 25:55].reshape(-1, 3)  # the middle, without an outline
        values, counts = np.unique(pixels.round().astype(int), axis=0, return_counts=True)
        assert 0.5 * len(pixels) < counts.max() < len(pixels)
        assert _named(values[counts.argmax()].astype(float), COLOUR_NAMES[colour])


@pytest.mark.parametrize("number", range(len(ALL)))
@pytest.mark.parametrize("size", [(96, 96), (64, 190), (301, 120)])
def test_backgrounds_have_the_asked_size(number: int, size: tuple[int, int]) -> None:
    image = ALL[number][0](size, np.random.default_rng(5))
    assert image.shape == (*size, 3) and np.isfinite(image).all()


def test_background_is_clipped() -> None:
    for seed in range(20):
        image = draw_background((64, 80), np.random.default_rng(seed))
        assert image.dtype == np.float32 and image.min() >= 0 and image.max() <= 255


def test_random_size_keeps_its_limits() -> None:
    rng = np.random.default_rng(0)
    sizes = [random_size(rng, 96, 2048, 3.0) for _ in range(500)]
    for h, w in sizes:
        assert 96 <= min(h, w) and max(h, w) <= 2048 and max(h, w) / min(h, w) < 3.05
    assert max(max(s) for s in sizes) > 1500 and min(max(s) for s in sizes) < 120

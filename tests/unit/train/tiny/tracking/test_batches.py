"""Batches repeat, agree with the clips, and hold what the recipe asks for."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from sam3.errors import InputError
from sam3.train.data.scenes.clip_dataset import ClipFolder
from sam3.train.tiny.tracking.batches import (
    MIN_PROMPT_AREA,
    ClipBatch,
    TrackingBatches,
    collate,
    cut,
    frame_numbers,
)
from sam3.train.tiny.tracking.corruption import corrupt_masks
from sam3.train.tiny.tracking.places import draw_places
from sam3.train.tiny.tracking.prompts import add_correction, first_points
from sam3.train.tiny.tracking.recipe import TrackingRecipe

_RECIPE = TrackingRecipe(frames=8, pictures=3, windows=((4, 0.5), (8, 0.5)))


def _tensors(batch: ClipBatch) -> list[torch.Tensor]:
    return [batch.images, batch.clips, batch.masks, batch.visible]


def test_a_batch_depends_on_its_number_alone(clips: ClipFolder) -> None:
    first, second = (TrackingBatches(clips, _RECIPE, seed=5) for _ in range(2))
    first.batch(0, 0.0)
    for one, other in zip(
        _tensors(first.batch(3, 0.5)), _tensors(second.batch(3, 0.9)), strict=True
    ):
        assert torch.equal(one, other)
    assert not torch.equal(first.batch(3, 0).images, first.batch(4, 0).images)
    assert first.batch(3, 0).seed == second.batch(3, 0).seed


def test_batches_are_windows_and_pictures_of_all_kinds(clips: ClipFolder) -> None:
    source = TrackingBatches(clips, _RECIPE, seed=1)
    seen: Counter[tuple[int, str]] = Counter()
    for number in range(60):
        batch = source.batch(number, 0.9)
        count, frames = batch.images.shape[:2]
        assert (frames, count) in {(1, 3), (4, 2), (8, 1)}
        objects = len(batch.clips)
        assert batch.masks.shape == (objects, frames, clips.resolution, clips.resolution)
        assert batch.objects.shape == (count, *batch.masks.shape[1:])
        assert batch.visible.shape == (objects, frames)
        assert batch.masks[:, 0].flatten(1).sum(1).min() >= MIN_PROMPT_AREA
        assert torch.bincount(batch.clips, minlength=count).max() <= _RECIPE.objects
        assert batch.images.abs().max() <= 1.0
        if frames == 1:
            assert batch.prompt != "mask" and batch.corrections >= 1
        seen[frames, batch.prompt] += 1
    assert {key[1] for key in seen} == {"mask", "box", "points"}
    assert {key[0] for key in seen} == {1, 4, 8}


def test_a_training_begins_with_places_and_pictures(clips: ClipFolder) -> None:
    recipe = replace(_RECIPE, place_stage=0.1, picture_stage=0.4, place_share=0.0)
    source = TrackingBatches(clips, recipe, seed=2)
    objects = {
        plane.tobytes()
        for row in range(len(clips))
        for label in range(1, int(clips[row].labels.max()) + 1)
        for plane in oriented(clips[row].labels == label)
    }
    shares = {}
    for progress in (0.05, 0.2, 0.7):
        batches = [source.batch(number, progress) for number in range(30)]
        if progress < 0.4:
            assert {batch.frames for batch in batches} == {1}
        masks = [mask for batch in batches if batch.frames == 1 for mask in batch.masks[:, 0]]
        shares[progress] = np.mean([mask.numpy().tobytes() not in objects for mask in masks])
    assert shares[0.05] == 1.0 and shares[0.7] == 0.0
    assert 0.3 < shares[0.2] < 0.7


def oriented(planes: np.ndarray) -> list[np.ndarray]:
    """Every frame [T, R, R] in all the ways that a batch may turn it."""
    turned = [planes, planes[:, ::-1], planes[:, :, ::-1], planes[:, ::-1, ::-1]]
    turned += [plane.swapaxes(1, 2) for plane in turned]
    return [np.ascontiguousarray(frame) for plane in turned for frame in plane]


def test_places_are_discs_anywhere() -> None:
    masks = draw_places(200, 96, np.random.default_rng(0))
    assert masks.shape == (200, 96, 96) and masks.dtype == bool
    areas = masks.sum((1, 2))
    assert areas.min() > 0 and areas.max() < 0.1 * 96 * 96
    covered = masks.any(0).mean()
    assert covered > 0.98


def test_frames_of_a_window_follow_each_other() -> None:
    rng = np.random.default_rng(0)
    steps: Counter[int] = Counter()
    for _ in range(60):
        numbers = frame_numbers(8, 4, rng)
        assert numbers.min() >= 0 and numbers.max() < 8
        steps += Counter(np.diff(numbers).tolist())
    assert set(steps) == {-2, -1, 1, 2}
    assert sorted(frame_numbers(8, 8, rng)) == list(range(8))


def test_a_window_without_changes_is_the_clip(clips: ClipFolder) -> None:
    stored = clips[0]
    window = cut(stored, np.arange(8), 4, None)
    assert window is not None
    pixels = (window.images.transpose(0, 2, 3, 1) * 0.5 + 0.5) * 255
    np.testing.assert_allclose(pixels, stored.images, atol=0.01)
    rows = np.flatnonzero(np.bincount(stored.labels[0].ravel())[1:] >= MIN_PROMPT_AREA)
    assert len(window.masks) == len(rows)
    for mask, row in zip(window.masks, rows, strict=True):
        assert np.array_equal(mask, stored.labels == row + 1)
    batch = collate([window], prompt="box", corrections=0, centred=True, num_frames=8, seed=0)
    assert batch.frames == 8 and batch.clips.tolist() == [0] * len(rows)


def test_an_empty_first_frame_gives_no_window(clips: ClipFolder) -> None:
    empty = replace(clips[0], labels=np.zeros_like(clips[0].labels))
    assert cut(empty, np.arange(4), 2, None) is None


@pytest.mark.parametrize("centred", [True, False])
def test_a_user_clicks_into_the_object_and_then_into_errors(centred: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    masks = torch.zeros(2, 1, 32, 32, dtype=torch.bool)
    masks[0, :, 4:12, 4:12], masks[1, :, 20:30, 8:20] = True, True
    points = first_points("points", masks, centred, generator)
    for row, (x, y) in enumerate(points["point_coords"][:, 0].int().tolist()):
        assert masks[row, 0, y, x]
    # the first object is missed, the second one spills over
    wrong = masks.clone()
    wrong[0] = False
    wrong[1, :, :8] = True
    points = add_correction(points, masks, wrong, centred, generator)
    assert points["point_labels"].tolist() == [[1, 1], [1, 0]]
    x, y = points["point_coords"][0, 1].int().tolist()
    assert masks[0, 0, y, x]
    assert points["point_coords"][1, 1, 1] < 8


def test_a_box_has_two_corners() -> None:
    masks = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    masks[..., 10:20, 8:28] = True
    points = first_points("box", masks, True, torch.Generator().manual_seed(0))
    assert points["point_labels"].tolist() == [[2, 3]]
    corners = torch.tensor([[8.0, 10.0], [27.0, 19.0]])
    torch.testing.assert_close(points["point_coords"][0], corners, atol=2.0, rtol=0)


def test_corruption_changes_a_share_of_the_objects() -> None:
    masks = torch.full((400, 1, 24, 24), -5.0)
    masks[..., 8:16, 8:16] = 5.0
    changed = corrupt_masks(masks, 0.2, torch.Generator().manual_seed(1))
    areas = (changed > 0).sum((1, 2, 3))
    assert 0.05 < float((areas > 64).float().mean()) < 0.16
    assert 0.05 < float((areas < 64).float().mean()) < 0.16
    assert torch.equal(corrupt_masks(masks, 0.0, torch.Generator()), masks)


def test_unusable_recipes_are_refused() -> None:
    with pytest.raises(InputError, match="longest window"):
        TrackingRecipe(frames=4)
    with pytest.raises(InputError, match="add up to 1"):
        TrackingRecipe(prompt_shares=(0.5, 0.5, 0.5))

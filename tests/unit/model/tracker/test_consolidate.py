"""Packing the outputs of single objects: where rows come from, and giving masks to many tracks."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from sam3.model.sam3_tracking_predictor import Sam3TrackerPredictor
from sam3.model.tracker import postprocess
from sam3.model.tracker.consolidate import consolidate, row_source, row_sources
from sam3.model.tracker.state import InferenceState
from sam3.model.video.recondition import recondition
from sam3.model.video.records import Detections, TrackedMasks
from sam3.model.video.track import propagate_states, quietly, update_memories
from tests.support.tiny_tracker import (
    HEIGHT,
    WIDTH,
    click,
    snapshot,
    started,
    tiny_tracker,
    track,
)

OBJECTS = 4
IDS = [10 + i for i in range(OBJECTS)]


@pytest.fixture(scope="module")
def model() -> Sam3TrackerPredictor:
    return tiny_tracker(selection=True)


def tracked(model: Sam3TrackerPredictor, frames: int = 3) -> InferenceState:
    """A session that is tracked up to frame ``frames - 1``."""
    state = started(model, OBJECTS, frames=max(frames, 12))
    track(model, state, count=frames - 1)
    return state


def test_objects_without_new_output_share_one_source(model: Sam3TrackerPredictor) -> None:
    state = tracked(model)
    assert [list(s.rows) for s in row_sources(state, 2, True)] == [[0, 1, 2, 3]]
    click(model, state, frame=2, obj=12)
    click(model, state, frame=2, obj=10)
    sources = row_sources(state, 2, True)
    assert sorted(list(s.rows) for s in sources) == [[0], [1, 3], [2]]
    assert [list(s.rows) for s in row_sources(state, 9, True)] == [[0, 1, 2, 3]]
    assert row_sources(state, 9, True)[0].record is None


@pytest.mark.parametrize("kind", ["tracked", "clicked", "mask", "archived", "nothing"])
def test_rows_are_those_of_each_object(model: Sam3TrackerPredictor, kind: str) -> None:
    state = tracked(model, 26 if kind == "archived" else 4)
    frame = {"nothing": 9, "archived": 13}.get(kind, 2)
    if kind == "clicked":
        click(model, state, frame=frame, obj=12)
        click(model, state, frame=frame, obj=10, at=(0.7, 0.7))
    if kind == "mask":
        model.add_new_mask(state, frame, 11, torch.eye(20))
    if kind == "archived":
        assert frame in state.archive.non_cond_frame_outputs
    packed = consolidate(model, state, frame, is_cond=True, run_mem_encoder=True)
    for row in range(OBJECTS):
        source = row_source(state, row, frame, True)
        got = {
            "masks": packed.pred_masks[row : row + 1],
            "pointer": packed.obj_ptr[row : row + 1],
            "score": packed.object_score_logits[row : row + 1],
        }
        if source is None:
            assert (got["masks"] == -1024).all() and float(got["score"]) == 10
            assert got["pointer"].abs().max() < 1024, "the pointer of an empty mask"
            continue
        torch.testing.assert_close(got["score"], source.score_logits())
        if source.obj_ptr is not None:
            torch.testing.assert_close(got["pointer"], source.obj_ptr)
        if source.pred_masks_video_res is None:
            torch.testing.assert_close(got["masks"], source.mask_logits())
        else:
            assert set(got["masks"].sign().unique().tolist()) == {-1.0, 1.0}
    assert packed.maskmem_features.shape[0] == OBJECTS


# ---- masks from detections --------------------------------------------------------------------


def reconditioned(model: Sam3TrackerPredictor, patch: pytest.MonkeyPatch, plain: bool) -> Any:
    """A session whose tracks took their detections' masks on frame 2; counts of what was run."""
    if plain:
        patch.setattr("sam3.model.video.recondition.quietly", lambda *a, **k: quietly({}, **k))
    state = started(model, OBJECTS)
    track(model, state, count=1)
    step = next(model.propagate_in_video(state, 2, 0, False, True, None, False))
    masks = TrackedMasks(np.array(IDS), step[2][:, 0], torch.ones(OBJECTS))
    detections = Detections(torch.zeros(OBJECTS, 4), step[2][:, 0] + 0.5, torch.ones(OBJECTS))
    counts = {"memories": 0}
    encode = model._encode_new_memory

    def counted(**kwargs: Any) -> Any:
        counts["memories"] += 1
        return encode(**kwargs)

    patch.setattr(model, "_encode_new_memory", counted)
    recondition(model, [state], detections, masks, {i: i - 10 for i in IDS}, 2)
    before = counts["memories"]
    update_memories(model, [state], masks, 2)
    return state, before


def test_quietly_to_tracks_encodes_their_memories_once(
    model: Sam3TrackerPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    for plain, expected in ((True, OBJECTS), (False, 0)):
        with monkeypatch.context() as patch:
            state, memories = reconditioned(model, patch, plain)
        assert memories == expected
        assert state.cond_frames() == [0, 2] and not state.quiet and not state.memory_follows
        results.append((snapshot(state), track(model, state, start=3, count=2)))
    assert results[0][0] == results[1][0]
    for plain_step, step in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(step[2], plain_step[2], rtol=0, atol=0)


def test_a_quiet_session_gives_no_masks_back(model: Sam3TrackerPredictor) -> None:
    state = started(model, 2)
    with quietly(state):
        frame, ids, _, masks = model.add_new_mask(state, 0, 10, torch.eye(9))
    assert (frame, ids, len(masks)) == (0, [10, 11], 0)
    assert len(model.add_new_mask(state, 0, 10, torch.eye(9))[3]) == 2
    fields = {f.name for f in dataclasses.fields(state)}
    assert {"quiet", "memory_follows"} <= fields


def test_a_failure_while_masks_are_given_leaves_no_switch_on(model: Sam3TrackerPredictor) -> None:
    state = started(model, 2)
    with pytest.raises(ValueError, match="height, width"), quietly(state, memory_follows=True):
        model.add_new_mask(state, 0, 10, torch.zeros(3))
    assert not state.quiet and not state.memory_follows


def test_the_video_model_makes_no_masks_at_the_videos_size(
    model: Sam3TrackerPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tracked(model)
    sizes = []
    resize = postprocess.resize_logits

    def noted(masks: torch.Tensor, size: tuple[int, int], *more: Any) -> torch.Tensor:
        sizes.append(tuple(size))
        return resize(masks, size, *more)

    monkeypatch.setattr(postprocess, "resize_logits", noted)
    found = propagate_states(model, [state], 3, reverse=False)
    assert found.low_res.shape[0] == OBJECTS and not sizes
    assert track(model, state, start=4, count=0)[0][3].shape == (OBJECTS, 1, HEIGHT, WIDTH)
    assert sizes == [(HEIGHT, WIDTH)]

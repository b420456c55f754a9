"""What a tracking session holds on to, and sessions side by side."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sam3.errors import SessionError
from sam3.model.sam3_tracking_predictor import Sam3TrackerPredictor
from sam3.model.tracker.state import InferenceState
from tests.support.tiny_tracker import (
    HEIGHT,
    WIDTH,
    assert_same,
    click,
    started,
    tensors_of,
    tiny_session,
    tiny_tracker,
    track,
)


@pytest.fixture(scope="module")
def model() -> Sam3TrackerPredictor:
    return tiny_tracker()


@pytest.mark.parametrize(("selection", "keep"), [(False, "bank"), (True, "masks")])
def test_300_frames_add_no_tensors(selection: bool, keep: str) -> None:
    model = tiny_tracker(selection, keep_outputs=keep)
    state = started(model, 2, frames=301)
    held = {}
    for result in model.propagate_in_video(state, 0, None, False, tqdm_disable=True):
        if result[0] in (40, 300):
            tensors = tensors_of(state)
            held[result[0]] = (len(tensors), sum(t.nelement() * t.element_size() for t in tensors))
    assert held[40] == held[300]
    packed = sum(
        len(out.packed_masks or ()) for out in state.archive.non_cond_frame_outputs.values()
    )
    assert (packed > 400) == (keep == "masks")


def test_detections_on_many_frames_add_no_tensors() -> None:
    """Masks given again and again while tracking, as a detector does: the bank stays bounded."""
    model = tiny_tracker()
    state = started(model, 2, frames=200)
    counts = []
    for frame in range(1, 200):
        if frame % 10 == 0:
            model.add_new_mask(state, frame, 10, torch.eye(9))
            model.propagate_in_video_preflight(state)
        track(model, state, start=frame, count=0)
        if frame in (99, 199):
            counts.append(len(tensors_of(state)))
    assert counts[0] == counts[1]
    assert len(state.cond_frames()) == 20
    assert [r[0] for r in track(model, state, start=10, count=1)] == [10, 11]


@pytest.mark.parametrize("selection", [False, True])
def test_letting_go_changes_no_result(selection: bool) -> None:
    """Forward to the end, then backward from the start frame, with and without letting go."""
    runs = []
    for keep in ("all", "masks"):
        model = tiny_tracker(selection, keep_outputs=keep)
        state = tiny_session(model, frames=36)
        click(model, state, frame=18)
        click(model, state, frame=18, obj=2, at=(0.8, 0.3))
        model.propagate_in_video_preflight(state)
        runs.append(track(model, state) + track(model, state, reverse=True, start=18))
    assert_same(*runs)


def test_a_frame_that_was_let_go_can_be_refined(model: Sam3TrackerPredictor) -> None:
    state = started(model, 2, frames=26)
    results = track(model, state)
    assert 13 in state.archive.non_cond_frame_outputs
    masks = click(model, state, frame=13, obj=10)
    video = torch.nn.functional.interpolate(
        torch.where(results[13][2][1:] > 0, 10.0, -10.0), (HEIGHT, WIDTH), mode="bilinear"
    )
    torch.testing.assert_close(masks[1:], video)
    model.propagate_in_video_preflight(state)
    packed = state["output_dict"]["cond_frame_outputs"][13]
    assert (packed["obj_ptr"] > -1024).all() and packed["maskmem_features"].shape[0] == 2
    assert 13 not in state.archive.non_cond_frame_outputs
    assert len(track(model, state, start=13)) == 13


def test_interleaved_sessions_give_what_they_give_alone(model: Sam3TrackerPredictor) -> None:
    def open_one(seed: int) -> InferenceState:
        state = tiny_session(model, seed=seed)
        click(model, state, at=(0.3 * seed, 0.5))
        model.propagate_in_video_preflight(state)
        return state

    alone = [track(model, open_one(seed)) for seed in (1, 2)]
    states = [open_one(seed) for seed in (1, 2)]
    streams = [model.propagate_in_video(s, None, None, False, tqdm_disable=True) for s in states]
    together = list(zip(*streams, strict=True))
    for i in range(2):
        assert_same([pair[i] for pair in together], alone[i])


def test_stopping_in_the_middle(model: Sam3TrackerPredictor) -> None:
    whole = track(model, started(model))
    state = started(model)
    stream = model.propagate_in_video(state, None, None, False, tqdm_disable=True)
    first = [next(stream) for _ in range(4)]
    stream.close()
    assert sorted(state["frames_already_tracked"]) == [0, 1, 2, 3]
    assert_same(first + track(model, state, start=4), whole)


def test_features_can_be_added_later_and_a_miss_replaces_the_cache(
    model: Sam3TrackerPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tiny_session(model)["cached_features"]
    given: dict[int, Any] = {}
    state = model.init_state(HEIGHT, WIDTH, 12, cached_features=given)
    given[0] = source[0]
    click(model, state)

    class Encoder(torch.nn.Module):
        calls = 0

    monkeypatch.setattr(model, "backbone", Encoder(), raising=False)

    def forward_image(image: Tensor) -> Any:
        assert image.shape == (1, 3, 8, 8)
        Encoder.calls += 1
        return source[1][1]["tracker_backbone_out"]

    monkeypatch.setattr(model, "forward_image", forward_image)
    with pytest.raises(SessionError, match="no video"):
        click(model, state, frame=1)
    state.images = torch.zeros(12, 3, 8, 8, dtype=torch.float16)
    click(model, state, frame=1)
    click(model, state, frame=1)
    assert Encoder.calls == 1 and list(state["cached_features"]) == [1] and list(given) == [0]


def test_nothing_is_left_switched_on(model: Sam3TrackerPredictor) -> None:
    track(model, started(model))
    assert not torch.is_autocast_enabled("cpu") and not torch.is_autocast_enabled("cuda")
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def test_state_may_be_offloaded(model: Sam3TrackerPredictor) -> None:
    state = model.init_state(4, 4, 2, offload_state_to_cpu=True, offload_video_to_cpu=True)
    assert state["storage_device"] == torch.device("cpu")
    assert state["offload_state_to_cpu"] and state["offload_video_to_cpu"]


def test_bf16_is_the_callers_policy(model: Sam3TrackerPredictor) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        results = track(model, started(model))
    assert all(torch.isfinite(r[3]).all() for r in results)
    assert results[1][2].dtype == torch.float32

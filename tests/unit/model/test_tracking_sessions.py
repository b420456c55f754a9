"""Sessions of the tracker: order of calls, options, errors, removal."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sam3.errors import InputError, Sam3Error, SessionError
from sam3.model.sam3_tracking_predictor import Sam3TrackerPredictor
from tests.support.tiny_tracker import (
    HEIGHT,
    WIDTH,
    assert_same,
    click,
    snapshot,
    started,
    tensors_of,
    tiny_session,
    tiny_tracker,
    track,
)


@pytest.fixture(scope="module")
def model() -> Sam3TrackerPredictor:
    return tiny_tracker()


# ---- results --------------------------------------------------------------------------------


def test_shapes_and_order_of_a_propagation(model: Sam3TrackerPredictor) -> None:
    state = started(model, 3)
    results = track(model, state)
    assert [r[0] for r in results] == list(range(12))
    size = model.low_res_mask_size
    for frame, ids, low, video, scores in results:
        assert ids == [10, 11, 12]
        assert low.shape == (3, 1, size, size) and video.shape == (3, 1, HEIGHT, WIDTH)
        assert scores.shape == (3, 1) and state["frames_already_tracked"][frame]["reverse"] is False
    assert list(state["output_dict"]["cond_frame_outputs"]) == [0]


def test_start_defaults_to_the_earliest_input(model: Sam3TrackerPredictor) -> None:
    state = tiny_session(model)
    click(model, state, frame=7)
    click(model, state, frame=4)
    model.propagate_in_video_preflight(state)
    assert state["first_ann_frame_idx"] == 4
    assert [r[0] for r in track(model, state, count=2)] == [4, 5, 6]
    assert [r[0] for r in track(model, state, start=9, count=2, reverse=True)] == [9, 8, 7]


def test_always_start_from_first_ann_frame() -> None:
    model = tiny_tracker(always_start_from_first_ann_frame=True)
    state = started(model)
    assert [r[0] for r in track(model, state, start=6, count=1)] == [0, 1]


def test_all_objects_go_through_the_model_in_one_batch(
    model: Sam3TrackerPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = started(model, 5)
    pictures, objects = [], []
    step = model.track_step

    def counted(**kwargs: Any) -> Any:
        pictures.append(kwargs["current_vision_feats"][-1].shape[1])
        out = step(**kwargs)
        objects.append(len(out.pred_masks))
        return out

    monkeypatch.setattr(model, "track_step", counted)
    track(model, state, count=4)
    assert objects == [5, 5, 5, 5], "frame 0 is stored; the others take one step each"
    assert pictures == [1, 1, 1, 1], "they share the picture's features"


def test_clicks_add_up_or_replace(model: Sam3TrackerPredictor) -> None:
    state = tiny_session(model)
    click(model, state)
    click(model, state, at=(0.7, 0.2), clear_old_points=False)
    assert state["point_inputs_per_obj"][0][0]["point_labels"].shape == (1, 2)
    click(model, state, at=(0.7, 0.2))
    assert state["point_inputs_per_obj"][0][0]["point_labels"].shape == (1, 1)


def test_too_many_points_are_cut() -> None:
    model = tiny_tracker(max_point_num_in_prompt_enc=4)
    state = tiny_session(model)
    points = torch.linspace(0.1, 0.9, 9)[:, None].repeat(1, 2)
    model.add_new_points(state, 0, 1, points=points, labels=[1] * 9)
    kept = state["point_inputs_per_obj"][0][0]["point_coords"][0, :, 0] / model.image_size
    torch.testing.assert_close(kept, torch.tensor([0.1, 0.2, 0.8, 0.9]))


def test_a_mask_comes_back_and_takes_from_others(model: Sam3TrackerPredictor) -> None:
    state = tiny_session(model)
    left = torch.zeros(18, 24)
    left[:, :12] = 1
    masks = model.add_new_mask(state, 0, 1, left)[3]
    assert torch.equal(masks[0, 0] > 0, torch.arange(WIDTH).expand(HEIGHT, WIDTH) < WIDTH // 2)
    masks = model.add_new_mask(state, 0, 2, torch.ones(7, 9, dtype=torch.bool))[3]
    assert not (masks[0] > 0).any() and (masks[1] > 0).all()


def test_points_replace_a_mask_and_the_other_way_round(model: Sam3TrackerPredictor) -> None:
    state = tiny_session(model)
    model.add_new_mask(state, 0, 1, torch.ones(9, 9))
    assert set(state["mask_inputs_per_obj"][0]) == {0}
    click(model, state)
    assert not state["mask_inputs_per_obj"][0] and set(state["point_inputs_per_obj"][0]) == {0}
    model.add_new_mask(state, 0, 1, torch.ones(9, 9))
    assert not state["point_inputs_per_obj"][0]


def test_objects_without_output_are_far_below_zero(model: Sam3TrackerPredictor) -> None:
    state = tiny_session(model)
    click(model, state, frame=0, obj=1)
    masks = click(model, state, frame=3, obj=2)
    assert (masks[0] == -1024).all() and (masks[1] > -1024).all()
    model.propagate_in_video_preflight(state)
    assert sorted(state["output_dict"]["cond_frame_outputs"]) == [0, 3]
    assert len(track(model, state)) == 12


def test_refining_a_tracked_frame_makes_it_conditioning(model: Sam3TrackerPredictor) -> None:
    state = started(model)
    track(model, state)
    before = state["output_dict"]["non_cond_frame_outputs"][10]["pred_masks"][1].clone()
    click(model, state, frame=10, obj=10, at=(0.9, 0.9))
    model.propagate_in_video_preflight(state)
    outputs = state["output_dict"]
    assert 10 in outputs["cond_frame_outputs"] and 10 not in outputs["non_cond_frame_outputs"]
    packed = outputs["cond_frame_outputs"][10]
    torch.testing.assert_close(packed["pred_masks"][1], before, msg="the other object's mask stays")
    assert packed["maskmem_features"].shape[0] == 2
    assert len(track(model, state, start=10)) == 2


def test_refinements_may_stay_out_of_the_conditioning_frames() -> None:
    model = tiny_tracker(add_all_frames_to_correct_as_cond=False)
    state = started(model)
    track(model, state)
    click(model, state, frame=5, obj=10)
    model.propagate_in_video_preflight(state)
    outputs, done = state["output_dict"], state["consolidated_frame_inds"]
    assert sorted(outputs["cond_frame_outputs"]) == [0]
    assert done["non_cond_frame_outputs"] == {5} and 5 in outputs["non_cond_frame_outputs"]
    assert [r[0] for r in track(model, state, start=4, count=2)] == [4, 5, 6]


@pytest.mark.parametrize(
    ("options", "objects", "hidden"),
    [
        ({"clear_non_cond_mem_around_input": True}, 1, True),
        ({"clear_non_cond_mem_around_input": True}, 2, False),
        (
            {"clear_non_cond_mem_around_input": True, "clear_non_cond_mem_for_multi_obj": True},
            2,
            True,
        ),
        ({"clear_non_cond_mem_around_input": False}, 1, False),
    ],
)
def test_tracked_frames_near_an_input_are_forgotten(
    options: dict[str, bool], objects: int, hidden: bool
) -> None:
    model = tiny_tracker(**options)
    state = started(model, objects)
    track(model, state)
    click(model, state, frame=8, obj=10)
    model.propagate_in_video_preflight(state)
    own = set(state["output_dict_per_obj"][0]["non_cond_frame_outputs"])
    everything = set(state["output_dict"]["non_cond_frame_outputs"])
    near = set(range(8 - model.num_maskmem, 12))
    assert own == (everything - near if hidden else everything)
    track(model, state, start=9)
    assert {9, 10, 11} <= set(state["output_dict_per_obj"][0]["non_cond_frame_outputs"])


def test_holes_are_filled_in_tracked_masks() -> None:
    plain, filling = tiny_tracker(), tiny_tracker(fill_hole_area=10**6)
    plain_low = track(plain, started(plain))[1][2]
    filled_low = track(filling, started(filling))[1][2]
    assert (plain_low <= 0).any() and not torch.equal(plain_low, filled_low)


def test_output_masks_may_not_overlap() -> None:
    model = tiny_tracker(non_overlap_masks_for_output=True)
    for result in track(model, started(model, 3)):
        assert ((result[3] > 0).sum(0) <= 1).all()


# ---- bad input ------------------------------------------------------------------------------

MASK = torch.ones(9, 9)
BAD_CALLS = [
    ("frame too large", lambda m, s: click(m, s, frame=12), InputError),
    ("frame negative", lambda m, s: click(m, s, frame=-1), InputError),
    ("mask on a frame too large", lambda m, s: m.add_new_mask(s, 99, 10, MASK), InputError),
    ("point outside", lambda m, s: click(m, s, obj=10, at=(1.5, 0.5)), InputError),
    ("no prompt", lambda m, s: m.add_new_points_or_box(s, 0, 10), InputError),
    ("empty box", lambda m, s: m.add_new_points(s, 0, 10, box=[0.5, 0.5, 0.5, 0.9]), InputError),
    ("mask with channels", lambda m, s: m.add_new_mask(s, 0, 10, MASK[None]), InputError),
    ("new object", lambda m, s: click(m, s, obj=99), SessionError),
    ("new object by mask", lambda m, s: m.add_new_mask(s, 0, 99, MASK), SessionError),
    ("clear unknown", lambda m, s: m.clear_all_points_in_frame(s, 0, 99), SessionError),
    ("clear on no frame", lambda m, s: m.clear_all_points_in_frame(s, 50, 10), InputError),
    ("remove unknown", lambda m, s: m.remove_object(s, 99, strict=True), SessionError),
    ("start outside", lambda m, s: track(m, s, start=12), InputError),
    ("negative count", lambda m, s: track(m, s, count=-1), InputError),
    (
        "chosen objects",
        lambda m, s: list(m.propagate_in_video(s, 0, None, False, obj_ids=[10])),
        NotImplementedError,
    ),
]


@pytest.mark.parametrize(
    ("call", "error"), [c[1:] for c in BAD_CALLS], ids=[c[0] for c in BAD_CALLS]
)
def test_bad_calls_change_nothing(model: Sam3TrackerPredictor, call: Any, error: type) -> None:
    state = started(model)
    track(model, state, count=2)
    before = snapshot(state)
    with pytest.raises(error) as caught:
        call(model, state)
    assert isinstance(caught.value, Sam3Error)
    assert snapshot(state) == before
    assert len(track(model, state)) == 12, "the session can still be used"


def test_a_late_new_object_is_told_how_to_come_in(model: Sam3TrackerPredictor) -> None:
    state = started(model)
    track(model, state, count=2)
    ways = "reset the session with clear_all_points_in_video, or track .* a session of its own"
    with pytest.raises(SessionError, match=ways):
        click(model, state, obj=99)
    model.clear_all_points_in_video(state)
    click(model, state, obj=99)
    model.propagate_in_video_preflight(state)
    assert track(model, state)[-1][1] == [99]


@pytest.mark.parametrize("call", ["preflight", "propagate", "both"])
def test_nothing_to_track(model: Sam3TrackerPredictor, call: str) -> None:
    state = tiny_session(model)
    before = snapshot(state)
    with pytest.raises(SessionError, match="nothing to track"):
        if call == "preflight":
            model.propagate_in_video_preflight(state)
        else:
            both = call == "both"
            next(model.propagate_in_video(state, None, None, False, propagate_preflight=both))
    assert snapshot(state) == before
    click(model, state)
    assert len(list(model.propagate_in_video(state, None, 1, False, True, None, True, True))) == 2


@pytest.mark.parametrize(
    "sizes", [(None, 4, 4), (4, None, 4), (4, 4, None), (4, 4, 0), (0, 4, 4), (4, -1, 4)]
)
def test_a_session_needs_sizes(model: Sam3TrackerPredictor, sizes: tuple[Any, ...]) -> None:
    with pytest.raises(InputError, match="at least 1"):
        model.init_state(*sizes)


def test_missing_features_name_the_remedy(model: Sam3TrackerPredictor) -> None:
    state = model.init_state(8, 8, 3, cached_features={})
    before = snapshot(state)
    with pytest.raises(SessionError, match="no backbone.*cached_features") as caught:
        click(model, state)
    assert isinstance(caught.value, RuntimeError)
    assert snapshot(state) == before


def test_a_video_of_one_frame(model: Sam3TrackerPredictor) -> None:
    state = started(model, frames=1)
    assert [r[0] for r in track(model, state)] == [0]
    assert [r[0] for r in track(model, state, reverse=True)] == [0]


# ---- taking back ----------------------------------------------------------------------------


@pytest.mark.parametrize("removed", [10, 11, 12])
def test_removing_an_object_keeps_the_others(model: Sam3TrackerPredictor, removed: int) -> None:
    state = started(model, 3)
    before = track(model, state)
    row = removed - 10
    ids, updated = model.remove_object(state, removed)
    assert ids == [i for i in (10, 11, 12) if i != removed] == state["obj_ids"]
    assert [t for t, _ in updated] == [0] and updated[0][1].shape == (2, 1, HEIGHT, WIDTH)
    keep = [i for i in range(3) if i != row]
    out = state["output_dict"]["non_cond_frame_outputs"][11]
    torch.testing.assert_close(out["pred_masks"], before[11][2][keep])
    own = state["output_dict_per_obj"][1]["non_cond_frame_outputs"][11]
    torch.testing.assert_close(own["pred_masks"], before[11][2][keep[1:]])
    assert sorted(state["point_inputs_per_obj"]) == [0, 1]
    assert track(model, state, start=11)[0][1] == ids


def test_removing_all_objects_gives_a_fresh_session(model: Sam3TrackerPredictor) -> None:
    state = started(model)
    track(model, state)
    assert model.remove_object(state, 99) == ([10, 11], [])
    model.remove_object(state, 10, need_output=False)
    assert model.remove_object(state, 11) == ([], [])
    assert not tensors_of(state.output_dict) and not state["tracking_has_started"]
    click(model, state, obj=5)
    assert state["obj_ids"] == [5]


def test_removing_the_only_object_with_inputs_resets_the_results(
    model: Sam3TrackerPredictor,
) -> None:
    state = started(model)
    model.clear_all_points_in_frame(state, 0, 11)
    track(model, state)
    model.remove_object(state, 10)
    assert state["obj_ids"] == [11] and not state["tracking_has_started"]
    assert not state.cond_frames() and not state["frames_already_tracked"]


def test_clearing_a_frame_turns_it_into_a_tracked_one(model: Sam3TrackerPredictor) -> None:
    state = tiny_session(model)
    for frame in (0, 6):
        click(model, state, frame=frame)
    model.propagate_in_video_preflight(state)
    track(model, state)
    result = model.clear_all_points_in_frame(state, 6, 1)
    assert result is not None and result[3].shape == (1, 1, HEIGHT, WIDTH)
    outputs = state["output_dict"]
    assert 6 in outputs["non_cond_frame_outputs"] and sorted(outputs["cond_frame_outputs"]) == [0]
    assert 6 not in state["frames_already_tracked"]
    assert model.clear_all_points_in_frame(state, 0, 1, need_output=False) is None
    assert not tensors_of(state.output_dict) and state["obj_ids"] == [1]


def test_clearing_keeps_inputs_that_wait(model: Sam3TrackerPredictor) -> None:
    state = tiny_session(model)
    click(model, state, frame=0, obj=1)
    click(model, state, frame=3, obj=2)
    model.clear_all_points_in_frame(state, 3, 2)
    assert state.input_frames() == {0}
    model.propagate_in_video_preflight(state)
    assert len(track(model, state)) == 12


@pytest.mark.parametrize("way", ["reset", "clear_all_points_in_video"])
def test_reset_gives_the_results_of_a_new_session(model: Sam3TrackerPredictor, way: str) -> None:
    state = started(model)
    first = track(model, state)
    getattr(model, way)(state)
    assert not state["obj_ids"] and not tensors_of([state.output_dict, state.archive])
    for i in range(2):
        click(model, state, obj=10 + i, at=(0.2 + 0.6 * i, 0.4))
    model.propagate_in_video_preflight(state)
    assert_same(track(model, state), first)

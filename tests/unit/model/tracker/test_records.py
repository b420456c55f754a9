"""Item access of the session records, packed masks, ids and frames of a session."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from sam3.errors import InputError, SessionError
from sam3.model.tracker.packed_masks import PackedMasks
from sam3.model.tracker.records import ItemAccess
from sam3.model.tracker.state import (
    FrameOutput,
    InferenceState,
    OutputBank,
    PointInputs,
    TrackRun,
)


def new_state(num_frames: int = 5) -> InferenceState:
    cpu = torch.device("cpu")
    return InferenceState(
        device=cpu, storage_device=cpu, num_frames=num_frames, video_height=12, video_width=16
    )


def output(objects: int = 2, fill: float = 0.0) -> FrameOutput:
    rows = torch.arange(objects, dtype=torch.float32)
    return FrameOutput(
        maskmem_features=rows.view(-1, 1, 1, 1).expand(objects, 4, 2, 2) + fill,
        maskmem_pos_enc=[torch.zeros(1, 4, 2, 2).expand(objects, 4, 2, 2)],
        pred_masks=rows.view(-1, 1, 1, 1).repeat(1, 1, 6, 6) + fill,
        obj_ptr=rows[:, None].expand(objects, 8) + fill,
        object_score_logits=rows[:, None] + fill,
    )


# ---- item access ----------------------------------------------------------------------------


def test_fields_are_items() -> None:
    state = new_state()
    assert state["obj_ids"] is state.obj_ids
    state["num_frames"] = 7
    assert state.num_frames == 7
    assert "output_dict" in state and "nonsense" not in state
    assert "images" not in state and state.get("images", "none") == "none"
    state.images = [1]
    assert "images" in state and "images" in state.keys()


def test_optional_fields_are_absent_while_none() -> None:
    out = FrameOutput()
    assert "maskmem_features" in out and out["maskmem_features"] is None
    assert "eff_iou_score" not in out and out.get("eff_iou_score") is None
    with pytest.raises(KeyError, match="eff_iou_score"):
        out["eff_iou_score"]
    out["eff_iou_score"] = torch.tensor(0.5)
    assert dict(out.items())["eff_iou_score"] == 0.5
    assert len(out) == len(list(out)) == 6


def test_unknown_items_cannot_be_added() -> None:
    @dataclass
    class Record(ItemAccess):
        name: str = "a"

    with pytest.raises(KeyError, match="Record has no field 'other'"):
        Record()["other"] = 1


# ---- packed masks ---------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 1, 7, 9), (1, 1, 1, 1), (0, 1, 4, 4)])
def test_packed_masks_come_back(shape: tuple[int, ...]) -> None:
    masks = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    packed = PackedMasks.pack(masks, torch.arange(float(shape[0]))[:, None])
    assert torch.equal(packed.masks(), masks > 0)
    assert torch.equal(packed.logits(), torch.where(masks > 0, 10.0, -10.0))
    assert packed.scores == tuple(range(shape[0]))


def test_rows_of_packed_masks() -> None:
    masks = torch.zeros(3, 1, 4, 4)
    masks[2] = 1
    packed = PackedMasks.pack(masks, torch.tensor([[1.0], [2.0], [3.0]])).select([2, 0])
    assert packed.masks().flatten(1).sum(1).tolist() == [16, 0]
    assert packed.scores == (3.0, 1.0)


def test_packing_is_small() -> None:
    masks = torch.full((1, 1, 288, 288), -5.0)
    masks[..., 50:150, 80:200] = 5.0
    (plane,) = PackedMasks.pack(masks).planes
    assert len(plane) < 1000


# ---- outputs of single objects --------------------------------------------------------------


def test_rows_are_views_and_share_the_position_encoding() -> None:
    out = output(3)
    row = out.rows(slice(1, 2))
    assert row.pred_masks is not None and out.pred_masks is not None
    assert row.pred_masks.unique().tolist() == [1.0]
    row.pred_masks[:] = 5.0
    assert out.pred_masks[1].unique().tolist() == [5.0]
    kept = out.rows([0, 2])
    assert kept.obj_ptr is not None and kept.obj_ptr[:, 0].tolist() == [0.0, 2.0]
    assert kept.maskmem_pos_enc is not None and kept.maskmem_pos_enc[0].stride(0) == 0


def test_object_views_follow_the_packed_outputs() -> None:
    state = new_state()
    state.register(4)
    state.register(9)
    tracked = state.output_dict_per_obj[1]["non_cond_frame_outputs"]
    assert len(tracked) == 0
    state.output_dict.non_cond_frame_outputs[3] = output(2)
    assert list(tracked) == [3] and tracked[3].object_score_logits.tolist() == [[1.0]]
    state.hidden_frames.add(3)
    assert len(tracked) == 0 and tracked.get(3) is None and 3 not in tracked
    with pytest.raises(KeyError):
        tracked[3]


def test_scores_and_masks_of_an_archived_frame() -> None:
    out = output(2, fill=-0.5)
    left = FrameOutput(packed_masks=PackedMasks.pack(out.pred_masks, out.object_score_logits))
    assert left.score_logits().tolist() == [[-0.5], [0.5]]
    assert left.mask_logits()[:, 0, 0, 0].tolist() == [-10.0, 10.0]
    assert FrameOutput().mask_logits() is None and FrameOutput().score_logits() is None


# ---- ids and frames -------------------------------------------------------------------------


def test_rows_are_given_in_order_of_arrival() -> None:
    state = new_state()
    assert [state.register(i) for i in (7, 3, 7)] == [0, 1, 0]
    assert state.obj_ids == [7, 3]
    assert state.obj_id_to_idx == {7: 0, 3: 1} and state.obj_idx_to_id == {0: 7, 1: 3}


def test_a_new_object_after_the_start_says_how_to_go_on() -> None:
    state = new_state()
    state.register(7)
    state.tracking_has_started = True
    assert state.register(7) == 0
    with pytest.raises(SessionError, match="clear_all_points_in_video") as caught:
        state.register(8)
    assert isinstance(caught.value, RuntimeError) and state.obj_ids == [7]


def test_unknown_object_names_the_known_ones() -> None:
    state = new_state()
    state.register(7)
    with pytest.raises(SessionError, match=r"id 8 is unknown.*\[7\]"):
        state.object_index(8)


@pytest.mark.parametrize("frame", [-1, 5, 100, 1.0, "2", True, None])
def test_frames_outside_the_video(frame: object) -> None:
    with pytest.raises(InputError, match="frame index"):
        new_state().check_frame(frame)  # type: ignore[arg-type]


def test_frames_inside_the_video() -> None:
    state = new_state()
    assert [state.check_frame(t) for t in (0, 4, torch.tensor(2))] == [0, 4, 2]


def test_dropping_outputs_keeps_waiting_inputs() -> None:
    state = new_state()
    points = PointInputs(torch.zeros(1, 1, 2), torch.ones(1, 1, dtype=torch.int32))
    idx = state.register(1)
    state.point_inputs_per_obj[idx] = {0: points, 2: points}
    state.temp_output_dict_per_obj[idx] = OutputBank({2: output(1)})
    state.output_dict.cond_frame_outputs[0] = output(1)
    state.tracking_has_started = True
    state.drop_outputs()
    assert state.input_frames() == {2} and not state.cond_frames()
    assert not state.tracking_has_started
    state.drop_results()
    assert not state.input_frames() and state.obj_ids == [1]
    state.drop_objects()
    assert state.obj_ids == [] and state.temp_output_dict_per_obj == {}


@pytest.mark.parametrize(
    ("frame", "reverse", "expected"),
    [
        (6, False, TrackRun(2, 6, False)),
        (5, False, TrackRun(2, 5, False)),
        (8, False, TrackRun(8, 8, False)),
        (4, False, TrackRun(4, 4, False)),
        (4, True, TrackRun(4, 4, True)),
    ],
)
def test_a_run_goes_on_or_starts_anew(frame: int, reverse: bool, expected: TrackRun) -> None:
    assert TrackRun(2, 5, False).extended(frame, reverse) == expected

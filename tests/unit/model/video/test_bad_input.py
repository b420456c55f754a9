"""Requests that cannot be answered: a clear error, the session as before, and usable afterwards."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sam3.errors import InputError, Sam3Error, SessionError, VideoError
from sam3.model.sam3_video_predictor import Sam3VideoPredictor
from tests.support.video import open_session, pictures, scripted_model, snapshot

FRAMES = 24
CLICK = {"points": [[0.5, 0.5]], "point_labels": [1], "obj_id": 0}


@pytest.fixture
def predictor():
    return Sam3VideoPredictor(model=scripted_model(max_num_objects=5))


@pytest.fixture
def session(predictor):
    session = predictor.handle_request({"type": "start_session", "resource_path": pictures()})
    predictor.add_prompt(session["session_id"], 0, text="thing")
    return session["session_id"]


def ask(predictor, session, **request):
    """One request, streams read to their end."""
    request = {"session_id": session, **request}
    if request["type"] == "propagate_in_video":
        return list(predictor.handle_stream_request(request))
    return predictor.handle_request(request)


def add(**prompt):
    return {"type": "add_prompt", "frame_index": 0, **prompt}


def box(*xywh):
    return add(bounding_boxes=[xywh], bounding_box_labels=[1])


def propagate(**where):
    return {"type": "propagate_in_video", **where}


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (add(text="thing", frame_index=FRAMES), "frame index 24 .* allowed is 0 to 23"),
        (add(text="thing", frame_index=-1), "frame index -1"),
        (add(**CLICK, frame_index=FRAMES), "frame index 24"),
        (add(**CLICK, frame_index=9), "no results yet; propagate"),
        (add(), "an empty prompt: give a phrase"),
        (add(text=" "), "phrase is empty"),
        (add(points=[], point_labels=[], obj_id=0), "points must have shape"),
        (add(**{**CLICK, "points": [[0.5, 1.01]]}), "within 0 to 1"),
        (add(**{**CLICK, "points": [[320, 200]]}), "within 0 to 1"),
        (add(**{**CLICK, "obj_id": None}), "points need an obj_id"),
        (box(0.2, 0.2, 0.0, 0.3), "must have an area"),
        (box(0.2, 0.2, 0.3, -0.1), "must have an area"),
        (box(0.9, 0.9, 0.3, 0.3), "within"),
        ({"type": "remove_object", "obj_id": 99}, r"object id 99 .* tracked are \[0, 1, 2\]"),
        (propagate(start_frame_index=FRAMES), "frame index 24"),
        (propagate(start_frame_index=-1), "frame index -1"),
        (propagate(max_frame_num_to_track=-1), "0 or more"),
        (propagate(propagation_direction="up"), "allowed are both, forward, backward"),
    ],
)
def test_bad_requests_change_nothing(request_, message, predictor, session):
    state = predictor._sessions[session].state
    before = snapshot(state)
    with pytest.raises(InputError, match=message) as caught:
        ask(predictor, session, **request_)
    assert isinstance(caught.value, Sam3Error)
    assert snapshot(state)[:-1] == before[:-1]  # the last is the number of attempts
    assert len(ask(predictor, session, **propagate())) == FRAMES


@pytest.mark.parametrize("other", ["nobody", "", 7])
def test_a_session_that_does_not_exist(other, predictor, session):
    everything = (add(text="thing"), propagate(), {"type": "remove_object", "obj_id": 0})
    for request in (*everything, {"type": "reset_session"}, {"type": "cancel_propagation"}):
        with pytest.raises(SessionError, match="is not open; start_session opens one"):
            ask(predictor, other, **request)
    assert len(ask(predictor, session, **propagate())) == FRAMES


def test_videos_that_cannot_be_opened_leave_no_session(predictor, tmp_path):
    for folder in ("empty", "mixed", "broken"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "mixed" / "frame2.png")
    Image.new("RGB", (8, 9)).save(tmp_path / "mixed" / "frame10.png")
    (tmp_path / "broken" / "0.png").write_bytes(b"no picture")
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    for resource, message in {
        "empty": "holds no frames",
        "mixed": "frame2.png has 8 x 8 pixels, frame10.png has 8 x 9",
        "broken": "cannot be read as a picture",
        "clip.mp4": "clip.mp4",
        "missing.mp4": "there is no file",
    }.items():
        with pytest.raises(VideoError, match=message):
            predictor.start_session(str(tmp_path / resource))
    with pytest.raises(VideoError, match="at least one frame"):
        predictor.start_session([])
    assert predictor.session_ids() == []


def test_a_video_of_one_frame(predictor):
    session = predictor.start_session(pictures(1))["session_id"]
    predictor.add_prompt(session, 0, text="thing")
    for direction, frames in (("both", [0]), ("forward", [0]), ("backward", [])):
        steps = ask(predictor, session, **propagate(propagation_direction=direction))
        assert [step["frame_index"] for step in steps] == frames


class Damaged:
    """Frames of which one cannot be read until it is mended."""

    def __init__(self, frames, broken):
        self.frames, self.broken = frames, broken

    def __len__(self):
        return len(self.frames)

    def __getitem__(self, index):
        if index == self.broken:
            raise VideoError(f"frame {index} cannot be read")
        return self.frames[index]


def test_a_broken_frame_stops_the_stream_and_loses_nothing():
    expected = scripted_model()
    state = open_session(expected)
    expected.add_prompt(state, 0, text_str="thing")
    whole = dict(expected.propagate_in_video(state, start_frame_idx=0))

    model = scripted_model()
    state = open_session(model)
    state.input_batch.img_batch = damaged = Damaged(state.input_batch.img_batch, 20)
    model.add_prompt(state, 0, text_str="thing")
    before = snapshot(state)
    with pytest.raises(VideoError, match="frame 20"):
        model.add_prompt(state, 20, text_str="other")
    assert snapshot(state) == before, "the old prompt and its results stay"
    seen = {}
    with pytest.raises(VideoError, match="frame 20"):
        seen.update(model.propagate_in_video(state, start_frame_idx=0))
    assert state.action_history == []
    damaged.broken = None
    done = max(state.cached_frame_outputs)
    rest = dict(model.propagate_in_video(state, start_frame_idx=done + 1))
    assert sorted(rest) == list(range(done + 1, FRAMES))
    for frame, outputs in rest.items():
        masks = outputs["out_binary_masks"]
        assert np.array_equal(masks, whole[frame]["out_binary_masks"]), frame

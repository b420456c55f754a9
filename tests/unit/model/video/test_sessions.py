"""Sessions that are used wrongly, cancelled, interleaved: clear errors, nothing lost."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from sam3.errors import InputError, Sam3Error, SessionError
from sam3.model.sam3_video_predictor import Sam3VideoPredictor
from sam3.model.video.actions import Action, ActionType, next_propagation
from tests.support.video import open_session, pictures, scripted_model, snapshot

BOX = [[0.1, 0.1, 0.2, 0.2]]


def run(model, state, **where):
    return {
        frame: out["out_binary_masks"] for frame, out in model.propagate_in_video(state, **where)
    }


@pytest.fixture
def model():
    return scripted_model()


@pytest.fixture
def state(model):
    state = open_session(model)
    model.add_prompt(state, 0, text_str="thing")
    return state


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({}, "empty prompt"),
        ({"text_str": "  "}, "phrase is empty"),
        ({"text_str": 3}, "must be a string"),
        ({"text_str": "a", "frame_idx": 24}, "outside the video of 24 frames"),
        ({"text_str": "a", "frame_idx": -1}, "outside"),
        ({"text_str": "a", "frame_idx": 1.5}, "integer"),
        ({"boxes_xywh": BOX}, "labels"),
        ({"boxes_xywh": BOX, "box_labels": [2]}, "labels of 0 or 1"),
        ({"boxes_xywh": [[0.1, 0.1, 0.0, 0.2]], "box_labels": [1]}, "area"),
        ({"boxes_xywh": [[0.9, 0.1, 0.2, 0.2]], "box_labels": [1]}, "within"),
        ({"boxes_xywh": [[0.1, float("nan"), 0.2, 0.2]], "box_labels": [1]}, "finite"),
        ({"boxes_xywh": [0.1, 0.2], "box_labels": [1]}, "shape"),
        ({"boxes_xywh": BOX * 2, "box_labels": [1, 1]}, "exactly one box"),
        ({"box_labels": [1]}, "empty prompt"),
        ({"points": [[0.5, 0.5]], "point_labels": [1]}, "obj_id"),
        ({"points": [[0.5, 0.5]], "point_labels": [1], "obj_id": -1}, "obj_id"),
        ({"points": [[0.5, 0.5]], "obj_id": 0}, "together"),
        ({"points": [[1.5, 0.5]], "point_labels": [1], "obj_id": 0}, "within 0 to 1"),
        ({"points": [[0.5, 0.5]], "point_labels": [3], "obj_id": 0}, "labels"),
        ({"points": [[0.5, 0.5]] * 2, "point_labels": [2, 3], "obj_id": 0}, "box .* is empty"),
        ({"points": [[0.5, 0.5]] * 2, "point_labels": [3, 2], "obj_id": 0}, "corners of a box"),
        ({"points": [[0.5, 0.5]], "point_labels": [1], "obj_id": 0, "text_str": "a"}, "without"),
        ({"points": [[0.5, 0.5]], "point_labels": [1], "obj_id": 0, "frame_idx": 9}, "propagate"),
    ],
)
def test_bad_prompts_leave_the_session_as_it_was(prompt, message, model, state):
    before = snapshot(state)
    prompt = {"frame_idx": 0, **prompt}
    with pytest.raises(InputError, match=message):
        model.add_prompt(state, **prompt)
    assert snapshot(state) == before
    assert len(run(model, state, start_frame_idx=0)) == 24


def test_object_limit():
    model = scripted_model(max_num_objects=3)
    state = open_session(model)
    model.add_prompt(state, 0, text_str="thing")
    with pytest.raises(SessionError, match="max_num_objects is 3"):
        model.add_prompt(state, 0, points=[[0.5, 0.5]], point_labels=[1], obj_id=70)


def test_unknown_object(model, state):
    before = snapshot(state)
    with pytest.raises(SessionError, match=r"object id 99 .* \[0, 1, 2\]"):
        model.remove_object(state, 99)
    assert snapshot(state) == before


def test_nothing_to_propagate(model):
    state = open_session(model, 2)
    with pytest.raises(RuntimeError, match="give a prompt first"):
        list(model.propagate_in_video(state))
    with pytest.raises(InputError, match="outside"):
        list(model.propagate_in_video(state, start_frame_idx=2))


def test_removed_object_is_gone_everywhere(model, state):
    run(model, state)
    model.remove_object(state, 2, is_user_action=True)
    assert not any(2 in cached for cached in state.cached_frame_outputs.values())
    assert not state.tracker_metadata.has(2)
    assert all(2 not in s["obj_ids"] for s in state.tracker_inference_states)
    fetched = dict(model.propagate_in_video(state, start_frame_idx=0))
    assert all(2 not in out["out_obj_ids"] for out in fetched.values()) and len(fetched) == 24
    assert [a["type"] for a in state["action_history"]] == [
        "propagation_full",
        "remove",
        "propagation_fetch",
    ]


def test_one_frame(model):
    state = open_session(model, 1)
    assert state.is_image_only
    _, out = model.add_prompt(state, 0, text_str="thing")
    assert out["out_binary_masks"].shape == (3, 48, 64)
    assert len(run(model, state)) == 1


def test_no_frames(model):
    with pytest.raises(Sam3Error):
        model.init_state(resource_path=[])


def test_box_finds_new_objects_on_its_frame_only(model):
    state = open_session(model)
    _, out = model.add_prompt(state, 0, boxes_xywh=BOX, box_labels=[1])
    assert out["out_obj_ids"].tolist() == [0, 1, 2]
    assert model.detector.calls[-1] == ("det", 0, False, 1)  # the caption "visual"
    prompt = state.per_frame_geometric_prompt[0]
    torch.testing.assert_close(prompt.box_embeddings, torch.tensor([[[0.2, 0.2, 0.2, 0.2]]]))
    run(model, state)
    assert state.tracker_metadata.max_obj_id == 2


def test_stopped_half_way_goes_on_where_asked(model, state):
    steps = model.propagate_in_video(state, start_frame_idx=0)
    for _ in range(3):
        next(steps)
    steps.close()
    assert state.action_history == []
    done = max(state.cached_frame_outputs)
    rest = run(model, state, start_frame_idx=done + 1)
    assert sorted(rest) == list(range(done + 1, 24))


def test_reset_voids_a_running_propagation(model, state):
    steps = model.propagate_in_video(state, start_frame_idx=0)
    next(steps)
    model.reset_state(state)
    with pytest.raises(SessionError, match="reset"):
        next(steps)
    model.add_prompt(state, 0, text_str="thing")
    assert len(run(model, state)) == 24


def test_two_sessions_interleaved_are_as_alone():
    alone = []
    for reverse, start in ((False, 0), (True, 20)):
        model = scripted_model()
        state = open_session(model)
        model.add_prompt(state, start, text_str="thing")
        alone.append(run(model, state, start_frame_idx=start, reverse=reverse))
    model = scripted_model()
    states = [open_session(model) for _ in range(2)]
    model.add_prompt(states[0], 0, text_str="thing")
    model.add_prompt(states[1], 20, text_str="other")
    streams = [
        model.propagate_in_video(states[0], start_frame_idx=0),
        model.propagate_in_video(states[1], start_frame_idx=20, reverse=True),
    ]
    together = [{}, {}]
    while streams != [None, None]:
        for k, stream in enumerate(streams):
            step = None if stream is None else next(stream, None)
            if step is None:
                streams[k] = None
            else:
                together[k][step[0]] = step[1]["out_binary_masks"]
    for one, other in zip(alone, together, strict=True):
        assert list(one) == list(other)
        assert all(np.array_equal(one[f], other[f]) for f in one)


def test_masks_are_kept_as_compressed_bits(model, state):
    run(model, state)
    planes = [p for c in state.cached_frame_outputs.values() for p in c._planes.values()]
    assert sum(len(b) for p in planes for b in p.planes) < 120 * len(planes)  # of 3072 pixels


FULL, PARTIAL, FETCH = ActionType.FULL, ActionType.PARTIAL, ActionType.FETCH
ADD, REMOVE, REFINE = ActionType.ADD, ActionType.REMOVE, ActionType.REFINE


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([], (FULL, None)),
        ([(FULL, 5, None)], (FULL, None)),
        ([(FULL, 0, None)], (FETCH, None)),
        ([(FULL, 0, None, True)], (FULL, None)),
        ([(FULL, 9, None)], (FULL, None)),
        ([(FULL, 9, None, True)], (FETCH, None)),
        ([(FULL, 5, None), (FULL, 5, None)], (FETCH, None)),
        ([(FULL, None, None)], (FULL, None)),
        ([(PARTIAL, 5, [3])], (PARTIAL, [3])),
        ([(FETCH, 5, None)], (FETCH, None)),
        ([(FULL, 0, None), (REFINE, 4, [7]), (ADD, 4, [2])], (PARTIAL, [2, 7])),
        ([(REFINE, 1, [1]), (FULL, 0, None), (REFINE, 4, [7])], (PARTIAL, [7])),
        ([(FULL, 0, None), (REMOVE, None, [7])], (FETCH, None)),
        ([(REMOVE, None, [7])], (FETCH, None)),
    ],
)
def test_next_propagation(history, expected):
    assert next_propagation([Action(*entry) for entry in history], num_frames=10) == expected


# ---- the predictor ------------------------------------------------------------------------------


@pytest.fixture
def predictor(model):
    return Sam3VideoPredictor(model=model)


def start(predictor, frame=0, **more):
    request = {"type": "start_session", "resource_path": pictures(), **more}
    session = predictor.handle_request(request)["session_id"]
    prompt = {"type": "add_prompt", "session_id": session, "frame_index": frame, "text": "thing"}
    assert predictor.handle_request(prompt)["outputs"]["out_obj_ids"].tolist()[:3] == [0, 1, 2]
    return session


def stream(predictor, session, **more):
    return predictor.handle_stream_request(
        {"type": "propagate_in_video", "session_id": session, **more}
    )


@pytest.mark.parametrize(
    ("direction", "expected"),
    [
        ("forward", list(range(24))),
        ("backward", []),
        ("both", list(range(24))),
    ],
)
def test_directions(direction, expected, predictor):
    steps = stream(predictor, start(predictor), propagation_direction=direction)
    assert [step["frame_index"] for step in steps] == expected


@pytest.mark.parametrize("frame", [0, 20, 23])
def test_both_directions_are_those_two_alone(frame):
    """Also from an end of the video."""

    def masks(direction):
        predictor = Sam3VideoPredictor(model=scripted_model())
        session = start(predictor, frame)
        where = {"start_frame_index": frame, "propagation_direction": direction}
        steps = stream(predictor, session, **where)
        return {s["frame_index"]: s["outputs"]["out_binary_masks"] for s in steps}

    both, forward, backward = masks("both"), masks("forward"), masks("backward")
    assert list(forward) == list(range(frame, 24))
    assert list(backward) == list(reversed(range(frame)))
    assert list(both) == [*forward, *backward]
    assert all(np.array_equal(both[t], m) for t, m in forward.items())
    assert all(len(both[t]) for t in backward), "found on every frame before it, too"


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"type": "dance"}, "unknown request type 'dance'"),
        ({}, "unknown request type None"),
        ({"type": "propagate_in_video", "session_id": "a"}, "handle_stream_request"),
        ({"type": "reset_session"}, "missing"),
        ({"type": "reset_session", "session_id": "a", "speed": 1}, "unknown fields"),
        ({"type": "reset_session", "session_id": "nobody"}, "'nobody' is not open"),
        ({"type": "remove_object", "session_id": "nobody", "obj_id": 1}, "'nobody' is not open"),
        ({"type": "cancel_propagation", "session_id": "nobody"}, "'nobody' is not open"),
    ],
)
def test_bad_requests(request_, message, predictor):
    with pytest.raises(RuntimeError, match=message):
        predictor.handle_request(request_)


def test_bad_streams(predictor):
    with pytest.raises(RuntimeError, match="not open"):
        stream(predictor, "nobody")
    with pytest.raises(ValueError, match="propagation_direction 'up'"):
        stream(predictor, start(predictor), propagation_direction="up")


def test_session_ids(predictor):
    session = start(predictor, session_id="mine")
    assert session == "mine" and predictor.session_ids() == ["mine"]
    with pytest.raises(SessionError, match="open already"):
        start(predictor, session_id="mine")
    for _ in range(2):  # the second time it is only warned about
        request = {"type": "close_session", "session_id": "mine"}
        assert predictor.handle_request(request) == {"is_success": True}
    assert predictor.session_ids() == []
    predictor.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        start(predictor)


def test_cancel_from_another_thread(predictor):
    session = start(predictor)
    seen = []
    for step in stream(predictor, session):
        seen.append(step["frame_index"])
        if len(seen) == 2:
            worker = threading.Thread(
                target=predictor.handle_request,
                args=({"type": "cancel_propagation", "session_id": session},),
            )
            worker.start()
            worker.join()
    assert seen == [0, 1]
    where = {"start_frame_index": 2, "propagation_direction": "forward"}
    again = [s["frame_index"] for s in stream(predictor, session, **where)]
    assert again == list(range(2, 24))


def test_reset_and_remove(predictor):
    session = start(predictor)
    list(stream(predictor, session))
    remove = {"type": "remove_object", "session_id": session, "obj_id": 0}
    assert predictor.handle_request(remove) == {"is_success": True}
    predictor.handle_request({"type": "reset_session", "session_id": session})
    with pytest.raises(RuntimeError, match="give a prompt first"):
        list(stream(predictor, session))


def test_threads_give_what_they_give_alone(predictor):
    expected = [s["outputs"]["out_binary_masks"] for s in stream(predictor, start(predictor))]
    results = {}

    def work(name):
        session = start(predictor)
        results[name] = [s["outputs"]["out_binary_masks"] for s in stream(predictor, session)]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    for masks in results.values():
        assert all(np.array_equal(a, b) for a, b in zip(masks, expected, strict=True))

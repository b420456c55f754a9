"""Two processes over gloo give, frame by frame, what one process gives."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from sam3.errors import SessionError
from sam3.model.sam3_video_predictor import Sam3VideoPredictor, Sam3VideoPredictorMultiGPU
from tests.support.video import build_scripted, pictures

pytestmark = pytest.mark.skipif(
    torch.cuda.is_available() or not torch.distributed.is_available(),
    reason="CPU processes over gloo",
)


def results(predictor, start, direction):
    session = predictor.handle_request(
        {"type": "start_session", "resource_path": pictures(), "session_id": f"from {start}"}
    )["session_id"]
    where = {"type": "add_prompt", "session_id": session, "frame_index": start}
    found = [predictor.handle_request({**where, "text": "thing"})]
    found += predictor.handle_stream_request(
        {
            "type": "propagate_in_video",
            "session_id": session,
            "start_frame_index": start,
            "propagation_direction": direction,
        }
    )
    return found


def assert_same(one, two):
    assert [r["frame_index"] for r in one] == [r["frame_index"] for r in two]
    for first, second in zip(one, two, strict=True):
        a, b = first["outputs"], second["outputs"]
        assert a["frame_stats"] == b["frame_stats"]
        for key in ("out_obj_ids", "out_probs", "out_boxes_xywh", "out_binary_masks"):
            np.testing.assert_array_equal(a[key], b[key], err_msg=f"{first['frame_index']} {key}")


def test_two_processes_give_the_result_of_one():
    keywords = {"masklet_confirmation_enable": True}
    single = Sam3VideoPredictor(model=build_scripted(**keywords))
    before = dict(os.environ)
    pair = Sam3VideoPredictorMultiGPU(gpus_to_use=[0, 1], build=build_scripted, **keywords)
    try:
        assert pair.model.world_size == 2
        for start, direction in ((0, "forward"), (20, "backward")):
            assert_same(results(single, start, direction), results(pair, start, direction))
        counts = pair._session("from 0").state.tracker_metadata.num_obj_per_gpu
        assert counts.tolist() == [2, 2]  # both had something to do
        remove = {"type": "remove_object", "session_id": "from 0", "obj_id": 2}
        with pytest.raises(SessionError, match="99"):
            pair.handle_request({**remove, "obj_id": 99})
        assert pair.handle_request(remove) == {"is_success": True}
        stream = pair.handle_stream_request({"type": "propagate_in_video", "session_id": "from 20"})
        next(stream)
        pair.handle_request({"type": "cancel_propagation", "session_id": "from 20"})
        assert list(stream) == []
    finally:
        pair.shutdown()
    assert dict(os.environ) == before
    with pytest.raises(SessionError, match="shut down"):
        pair.handle_request(remove)

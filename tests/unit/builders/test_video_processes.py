"""Clicks on the small model: two processes, an object each, give what one process gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sam3.model.sam3_video_predictor import Sam3VideoPredictor, Sam3VideoPredictorMultiGPU
from tests.support.video import build_tiny, pictures

pytestmark = pytest.mark.skipif(
    torch.cuda.is_available() or not torch.distributed.is_available(),
    reason="CPU processes over gloo",
)


def clicked(predictor):
    session = predictor.handle_request(
        {"type": "start_session", "resource_path": pictures(3), "session_id": "a"}
    )["session_id"]
    where = {"session_id": session, "frame_index": 0, "point_labels": [1]}
    found = [
        predictor.handle_request({"type": "add_prompt", **where, "points": [point], "obj_id": obj})
        for obj, point in ((3, [0.4, 0.6]), (4, [0.7, 0.2]))
    ]
    stream = {"type": "propagate_in_video", "session_id": session, "start_frame_index": 0}
    return found + list(predictor.handle_stream_request(stream))


def test_clicked_objects_are_shared_out():
    single = clicked(Sam3VideoPredictor(model=build_tiny()))
    pair = Sam3VideoPredictorMultiGPU(gpus_to_use=[0, 1], build=build_tiny)
    try:
        double = clicked(pair)
        counts = pair._session("a").state.tracker_metadata.num_obj_per_gpu
        assert counts.tolist() == [1, 1]
    finally:
        pair.shutdown()
    assert [r["frame_index"] for r in single] == [0, 0, 0, 1, 2]
    for one, two in zip(single, double, strict=True):
        for key in ("out_obj_ids", "out_probs", "out_boxes_xywh", "out_binary_masks"):
            np.testing.assert_array_equal(one["outputs"][key], two["outputs"][key], err_msg=key)

"""The video model over a scripted detector and tracker against recorded runs, step by step."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.support import golden
from tests.support.recorded_video import actions, assert_metadata, assert_outputs
from tests.support.video import open_session, scripted_model

RUNS = json.loads((golden.FOLDER / "video" / "script.json").read_text())


def assert_log(log, expected):
    assert len(log) == len(expected)
    for row, wanted in zip(log, expected, strict=True):
        if row[0] == "memory":
            np.testing.assert_allclose(row[4], wanted[4], rtol=0, atol=1e-2)
            row, wanted = [*row[:4], *row[5:]], [*wanted[:4], *wanted[5:]]
        assert row == wanted


@pytest.mark.parametrize("run", list(RUNS))
def test_run(run):
    arrays, expected = golden.load("video/script.npz"), RUNS[run]
    model = scripted_model(**expected["cfg"])
    state = open_session(model)
    frame, outputs = model.add_prompt(state, frame_idx=expected["start"], text_str="thing")
    assert frame == expected["start"]
    assert_outputs(arrays, f"{run}.prompt.{frame}", outputs)
    order, stats = [], {}
    for frame, outputs in model.propagate_in_video(
        state, start_frame_idx=expected["start"], reverse=expected["reverse"]
    ):
        order.append(frame)
        stats[str(frame)] = outputs["frame_stats"]
        assert_outputs(arrays, f"{run}.{frame}", outputs)
    assert order == expected["yield_order"] and stats == expected["frame_stats"]
    assert_metadata(state["tracker_metadata"], expected["meta"])
    assert_log(model.tracker.log, expected["tracker_log"])
    cached = {str(f): sorted(ids) for f, ids in state["cached_frame_outputs"].items()}
    assert cached == expected["cached_ids"]
    assert actions(state) == expected["actions"]
    assert len(model.detector.calls) == expected["detector_calls"]
    held = [k for k in state["feature_cache"] if isinstance(k, int)]
    assert held == [order[-1]]
    arrays.assert_all_read(f"{run}.")

"""Text, propagation, clicks, removal on the real full-size tracker and a scripted detector."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from sam3.builders.tracker import assemble_tracker
from sam3.config import presets
from sam3.config.video import VideoRules
from sam3.model.sam3_video_inference import Sam3VideoInferenceWithInstanceInteractivity
from tests.support import golden
from tests.support.golden_video import ScriptDetector, fill, synthetic_image, tracker_features
from tests.support.recorded_video import actions, assert_metadata, assert_outputs, assert_strided

SEED = 11
DETECTIONS = {
    0: [(0.9, (3, 3, 14, 14)), (0.8, (18, 16, 30, 29))],
    1: [(0.9, (4, 3, 15, 14)), (0.85, (2, 20, 12, 30))],
    2: [(0.9, (5, 3, 16, 14))],
}
SCORE_BIAS = {"sam_mask_decoder.pred_obj_score_head.layers.2.bias": 3.0}
LOGITS, POINTER, MEMORY = 2e-2, 5e-3, 5e-3

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model():
    tracker = fill(assemble_tracker(presets.SAM3_TRACKER, memory_selection=True), SCORE_BIAS)
    script = {
        frame: [(score, [tuple(9 * v for v in box)]) for score, box in rows]
        for frame, rows in DETECTIONS.items()
    }
    detector = ScriptDetector(script, 288, lambda f: tracker_features(SEED + 5, f, raw=True))
    model = Sam3VideoInferenceWithInstanceInteractivity(
        detector=detector, tracker=tracker.eval(), **VideoRules().keywords()
    )
    model.image_size = 28
    return model


def check_states(arrays, state, expected):
    states = state["tracker_inference_states"]
    assert len(states) == len(expected)
    for k, (tracked, wanted) in enumerate(zip(states, expected, strict=True)):
        bank = tracked["output_dict"]
        assert [int(i) for i in tracked["obj_ids"]] == wanted["ids"]
        assert sorted(bank["cond_frame_outputs"]) == wanted["cond"]
        assert sorted(bank["non_cond_frame_outputs"]) == wanted["non_cond"]
        for t in wanted["cond"] + wanted["non_cond"]:
            kind = "cond_frame_outputs" if t in wanted["cond"] else "non_cond_frame_outputs"
            out, key = bank[kind][t], f"state{k}.f{t}"
            low, pointer, memory = (
                out[name].float().numpy() for name in ("pred_masks", "obj_ptr", "maskmem_features")
            )
            assert_strided(arrays, f"{key}.low", low, (1, 1, 12, 12), LOGITS)
            assert_strided(arrays, f"{key}.obj_ptr", pointer, (1, 1), POINTER)
            some = memory[:, ::16]
            assert_strided(arrays, f"{key}.mem", some, (1, 1, 12, 12), MEMORY, mean=True)


def test_flow(model):
    arrays = golden.load("video/flow.npz")
    expected = json.loads((golden.FOLDER / "video" / "flow.json").read_text())
    close = {"tolerance": 1e-6, "box_tolerance": 2e-2, "same_pixels": 0.995}
    frames = [Image.fromarray(synthetic_image(SEED + 80 + k, 72, 96)) for k in range(3)]
    state = model.init_state(resource_path=frames)

    def step(tag, outputs):
        assert_outputs(arrays, tag, outputs, **close)

    def propagate(tag, start):
        order = []
        for frame, outputs in model.propagate_in_video(state, start_frame_idx=start):
            order.append(frame)
            step(f"{tag}.{frame}", outputs)
        assert order == expected[f"{tag}_order"]

    step("prompt.0", model.add_prompt(state, 0, text_str="thing")[1])
    propagate("full", 0)
    check_states(arrays, state, expected["states"])
    first = dict(expected["meta_full"], scores=dict(expected["meta_full"]["scores"], **{"0": 0.9}))
    assert_metadata(state["tracker_metadata"], first)
    points = {"points": [[0.3, 0.4], [0.6, 0.7]], "point_labels": [1, 0], "obj_id": 0}
    step("refine.1", model.add_prompt(state, 1, **points)[1])
    new = {"points": [[0.5, 0.5]], "point_labels": [1], "obj_id": 50}
    step("add50.1", model.add_prompt(state, 1, **new)[1])
    propagate("partial", 1)
    model.remove_object(state, 50, is_user_action=True)
    propagate("fetch", 0)
    assert actions(state) == expected["actions"]
    assert_metadata(state["tracker_metadata"], expected["meta_end"])
    arrays.assert_all_read()

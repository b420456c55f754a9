"""The whole video model, full size, with filled weights on two frames."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from sam3.config import presets
from sam3.model_builder import assemble_video_model, materialize_buffers
from tests.support import golden
from tests.support.fill import value_for
from tests.support.golden_video import synthetic_image
from tests.support.recorded_video import assert_metadata, assert_outputs, assert_strided

pytestmark = pytest.mark.golden_full

SEED = 11
DETECTION, MASKS, FEATURES = 1e-3, 1e-2, 1e-3
LOGITS, POINTER = 2e-2, 5e-3
SAME_PIXELS = 0.99


@pytest.fixture(scope="module")
def model():
    with torch.device("meta"):
        model = assemble_video_model(presets.SAM3_VIDEO, max_num_objects=3, new_det_thresh=0.0)
    state = {
        name: value_for(name.removeprefix("detector."), tensor.shape)
        for name, tensor in model.state_dict().items()
        if tensor.is_floating_point()
    }
    model.load_state_dict(state, strict=False, assign=True)
    materialize_buffers(model)
    return model.eval()


def check_detections(arrays, frame, found):
    key = f"det.{frame}"
    kept = arrays[f"{key}.logits"] > -1e3
    logits = found["pred_logits"].numpy()
    assert ((logits > -1e3) == kept).all(), "non-maximum suppression keeps others"
    np.testing.assert_allclose(logits[kept], arrays[f"{key}.logits"][kept], atol=DETECTION)
    boxes = found["pred_boxes_xyxy"].numpy()
    np.testing.assert_allclose(boxes, arrays[f"{key}.boxes"], atol=DETECTION)
    masks = found["pred_masks"][0, arrays[f"{key}.top"]].numpy()
    assert_strided(arrays, f"{key}.masks", masks, (1, 8, 8), MASKS)
    for level, step in enumerate((48, 24, 12)):
        some = found[f"tracker_backbone_fpn_{level}"][:, ::32].numpy()
        assert_strided(arrays, f"{key}.fpn{level}", some, (1, 1, step, step), FEATURES)


def test_two_frames(model):
    arrays = golden.load("video/full.npz")
    expected = json.loads((golden.FOLDER / "video" / "full.json").read_text())
    frames = [Image.fromarray(synthetic_image(SEED + 90 + k, 120, 160)) for k in range(2)]
    state = model.init_state(resource_path=frames)
    pixels = torch.stack([state.input_batch.img_batch[k].float() for k in range(2)]).numpy()
    assert_strided(arrays, "frames", pixels, (1, 1, 63, 63), 1e-6)
    close = {"tolerance": DETECTION, "box_tolerance": 2e-2, "same_pixels": SAME_PIXELS}
    _, out = model.add_prompt(state, 0, text_str="a red car")
    for frame, (pending, place) in state.feature_cache["multigpu_buffer"].items():
        check_detections(arrays, frame, pending.results()[place])
    assert_outputs(arrays, "prompt.0", out, **close)
    order = []
    for frame, out in model.propagate_in_video(state, start_frame_idx=0):
        order.append(frame)
        assert_outputs(arrays, f"full.{frame}", out, **close)
    assert order == expected["order"]
    meta = state["tracker_metadata"]
    assert meta["obj_id_to_score"] == {0: pytest.approx(0.77004, abs=DETECTION)}
    scores = {str(i): s for i, s in meta["obj_id_to_score"].items()}
    assert_metadata(meta, {**expected["meta"], "scores": scores})
    bank = state["tracker_inference_states"][0]["output_dict"]
    for t, kind in ((0, "cond_frame_outputs"), (1, "non_cond_frame_outputs")):
        held = bank[kind][t]
        low, pointer = held["pred_masks"].numpy(), held["obj_ptr"].numpy()
        assert_strided(arrays, f"state0.f{t}.low", low, (1, 1, 12, 12), LOGITS)
        assert_strided(arrays, f"state0.f{t}.obj_ptr", pointer, (1, 1), POINTER)
        score = held["object_score_logits"].numpy()
        assert_strided(arrays, f"state0.f{t}.score", score, (1, 1), POINTER)
    arrays.assert_all_read()

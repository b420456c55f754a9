"""Frame choice, position codes, mask clean-up and choice: goldens, rules, bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sam3.errors import InputError
from sam3.model import sam3_tracker_utils
from sam3.model.sam3_tracker_utils import (
    fill_holes_in_mask_scores,
    get_1d_sine_pe,
    get_best_gt_match_from_multimasks,
    mask_to_box,
    select_closest_cond_frames,
)
from sam3.perflib.masks_ops import mask_iou, masks_to_boxes
from sam3.perflib.nms import generic_nms, nms_masks

FOLDER = Path(__file__).parents[2] / "golden"
GOLDEN = {k: torch.from_numpy(v) for k, v in np.load(FOLDER / "tracker" / "logic.npz").items()}
LOGIC = json.loads((FOLDER / "video" / "logic.json").read_text())


@pytest.mark.parametrize("case", LOGIC["select_closest_cond_frames"])
def test_golden_frame_choice(case):
    outputs = {t: f"output {t}" for t in case["cond"]}
    selected, rest = select_closest_cond_frames(
        case["frame"], outputs, case["max"], case["keep_first"]
    )
    assert list(selected) == case["selected_in_order"]
    assert list(rest) == case["unselected_in_order"]
    assert {**selected, **rest} == outputs


@pytest.mark.parametrize("limit", [-1, 3, 4])
def test_without_a_choice_the_same_object_comes_back(limit):
    outputs = {7: 1, 2: 2, 5: 3}
    selected, rest = select_closest_cond_frames(4, outputs, limit)
    assert selected is outputs and rest == {}


def test_a_kept_first_frame_may_lie_after_the_current_one():
    selected, _ = select_closest_cond_frames(1, dict.fromkeys((3, 4, 9, 20)), 2, True)
    assert list(selected) == [20, 3]


@pytest.mark.parametrize("limit", [0, 1, -2])
def test_too_low_a_limit(limit):
    with pytest.raises(InputError, match="at least 2"):
        select_closest_cond_frames(0, {0: 1}, limit)


def test_golden_position_code():
    golden = np.load(FOLDER / "tracker" / "modules.npz")["sine_1d"]
    code = get_1d_sine_pe(torch.tensor([0, 1 / 15, 0.5, 1, -0.25]), 32)
    np.testing.assert_allclose(code.numpy(), golden, rtol=0, atol=1e-6)
    assert get_1d_sine_pe(torch.zeros(2, 3), 8).shape == (2, 3, 8)


def test_odd_position_code():
    with pytest.raises(InputError, match="even"):
        get_1d_sine_pe(torch.zeros(1), 7)


@pytest.mark.parametrize("area", [4, 16])
@pytest.mark.parametrize(("fill", "sprinkle"), [(1, 1), (1, 0), (0, 1)])
def test_golden_holes_and_specks(area, fill, sprinkle):
    before = GOLDEN["cc.in"].clone()
    after = fill_holes_in_mask_scores(before, area, bool(fill), bool(sprinkle))
    assert torch.equal(before, GOLDEN["cc.in"])
    torch.testing.assert_close(after, GOLDEN[f"fill_holes.{area}.{fill}{sprinkle}"], rtol=0, atol=0)


def test_golden_of_a_tiny_mask():
    after = fill_holes_in_mask_scores(GOLDEN["fill_holes.tiny.in"], 16)
    torch.testing.assert_close(after, GOLDEN["fill_holes.tiny.out"], rtol=0, atol=0)


def test_clean_up_of_nothing():
    mask = torch.randn(2, 1, 6, 6)
    assert fill_holes_in_mask_scores(mask, 0) is mask
    assert fill_holes_in_mask_scores(mask[:0], 16).shape == (0, 1, 6, 6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_clean_up_keeps_the_dtype(dtype):
    mask = torch.full((1, 1, 9, 9), 2.0, dtype=dtype)
    mask[0, 0, 4, 4] = -3
    after = fill_holes_in_mask_scores(mask, 4)
    assert after.dtype == dtype and (after > 0).all()


def test_clean_up_of_another_shape():
    with pytest.raises(InputError, match=r"\[N, 1, H, W\]"):
        fill_holes_in_mask_scores(torch.zeros(2, 6, 6), 16)


def test_golden_boxes():
    masks = torch.cat([GOLDEN["cc.in"] > 0, torch.zeros(1, 1, 31, 40).bool()])
    assert torch.equal(mask_to_box(masks), GOLDEN["mask_to_box"])
    assert torch.equal(masks_to_boxes(GOLDEN["cc.in"][:, 0] > 1), GOLDEN["masks_to_boxes"])


@pytest.mark.parametrize("threshold", [0.1, 0.4, 0.6])
def test_golden_nms(threshold):
    kept = generic_nms(GOLDEN["nms.iou"], GOLDEN["nms.scores"], threshold)
    assert torch.equal(kept, GOLDEN[f"nms.kept.{threshold}"])


@pytest.mark.parametrize("threshold", [0.1, 0.5])
def test_golden_mask_nms(threshold):
    keep = nms_masks(GOLDEN["nms_masks.probs"], GOLDEN["nms_masks.masks"], 0.5, threshold)
    assert torch.equal(keep, GOLDEN[f"nms_masks.keep.{threshold}"])


def test_golden_mask_iou():
    masks = GOLDEN["nms_masks.masks"] > 0
    assert torch.equal(mask_iou(masks[:6], masks), GOLDEN["mask_iou"])


def test_best_of_several_masks():
    truth = torch.zeros(2, 1, 4, 4).bool()
    truth[0, 0, :2] = True
    predictions = torch.full((2, 3, 4, 4), -1.0)
    predictions[0, 0, :3] = 1
    predictions[0, 2, :2] = 1
    scores = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    best, best_scores = get_best_gt_match_from_multimasks(predictions, truth, scores)
    assert torch.equal(best, torch.stack([predictions[0, 2:3], predictions[1, :1]]))
    assert torch.equal(best_scores, torch.tensor([[0.3], [0.4]]))  # of equal ones the first
    assert torch.equal(get_best_gt_match_from_multimasks(predictions, truth), best)


@pytest.mark.parametrize(
    ("prediction", "truth", "scores", "message"),
    [
        ((2, 3, 4, 4), (2, 1, 4, 5), None, "predictions and truth"),
        ((3, 4, 4), (3, 1, 4, 4), None, "predictions and truth"),
        ((2, 3, 4, 4), (2, 1, 4, 4), (2, 2), "scores"),
    ],
)
def test_masks_that_do_not_fit_together(prediction, truth, scores, message):
    with pytest.raises(InputError, match=message):
        get_best_gt_match_from_multimasks(
            torch.zeros(prediction), torch.zeros(truth).bool(), scores and torch.zeros(scores)
        )


def test_every_public_name_is_there():
    assert all(callable(getattr(sam3_tracker_utils, name)) for name in sam3_tracker_utils.__all__)

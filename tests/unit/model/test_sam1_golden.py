"""The interactive predictor at full size against numbers measured on the reference."""

from __future__ import annotations

import numpy as np
import pytest

from sam3.builders.tracker import assemble_tracker
from sam3.config import presets
from sam3.model.sam1_task_predictor import SAM3InteractiveImagePredictor
from tests.support import golden
from tests.support.golden_video import StubBackbone, fill, synthetic_image

S = 11  # the seed of the golden set
IMAGE, SECOND = synthetic_image(S + 70, 60, 80), synthetic_image(S + 72, 50, 44)
BOX = [12, 10, 55, 48]
BOXES = [BOX, [30, 5, 78, 40], [2, 2, 20, 58]]
LOGIT_TOLERANCE, IOU_TOLERANCE, MASK_AGREEMENT = 2e-3, 1e-3, 0.998


@pytest.fixture(scope="module")
def gold():
    return golden.load("tracker/sam1.npz")


@pytest.fixture(scope="module")
def heads():
    """The released tracker."""
    model = fill(
        assemble_tracker(presets.SAM3_TRACKER, memory_selection=False),
        {"sam_mask_decoder.pred_obj_score_head.layers.2.bias": 3.0},
    )
    model.backbone = StubBackbone(S)
    return model.eval()


@pytest.fixture(scope="module")
def predictor(heads):
    predictor = SAM3InteractiveImagePredictor(heads)
    predictor.set_image(IMAGE)
    return predictor


def strided(gold, key, actual, step, tolerance):
    """The stored part of an array, and the sums of the whole."""
    assert actual.shape == tuple(gold[f"{key}.fullshape"]), key
    whole = actual.astype(np.float64)
    sums = np.array([whole.sum(), np.abs(whole).sum(), np.sqrt((whole**2).sum())])
    np.testing.assert_allclose(sums, gold[f"{key}.stats"], atol=tolerance * sums[1], err_msg=key)
    part, expected = actual[..., ::step, ::step], gold[key]
    atol = tolerance * np.abs(expected).max()
    np.testing.assert_allclose(part, expected, rtol=0, atol=atol, err_msg=key)


def check(gold, case, prediction):
    masks, ious, low = prediction
    shape = tuple(gold[f"{case}.masks.shape"])
    expected = np.unpackbits(gold[f"{case}.masks.bits"])[: np.prod(shape)].reshape(shape)
    assert masks.shape == shape
    assert ((masks > 0) == expected.astype(bool)).mean() >= MASK_AGREEMENT
    if f"{case}.iou" in gold:
        assert ious.shape == gold[f"{case}.iou"].shape
        np.testing.assert_allclose(ious, gold[f"{case}.iou"], rtol=0, atol=IOU_TOLERANCE)
        strided(gold, f"{case}.low", low, 9, LOGIT_TOLERANCE)
    if f"{case}.logits" in gold:
        strided(gold, f"{case}.logits", masks, 5, LOGIT_TOLERANCE)


def test_picture_and_features(gold, predictor):
    strided(gold, "transform", predictor._transforms(IMAGE).numpy(), 21, 1e-5)
    strided(gold, "embed", predictor.get_image_embedding()[:, ::16].numpy(), 12, 1e-5)


@pytest.mark.parametrize(
    ("case", "points", "labels", "box", "options"),
    [
        ("one_point", slice(1), [1], None, {}),
        ("three_points", slice(3), [1, 0, 1], None, {"return_logits": True}),
        ("box", None, None, BOX, {}),
        ("box_point", slice(3, None), [0], BOX, {}),
        ("boxes", None, None, BOXES, {}),
        ("no_prompt", None, None, None, {}),
    ],
)
def test_prompts(gold, predictor, case, points, labels, box, options):
    coords = None if points is None else gold["pts"][points]
    multimask = case in ("one_point", "box_point", "no_prompt")
    check(gold, case, predictor.predict(coords, labels, box, multimask_output=multimask, **options))


def test_fractions_of_the_picture(gold, predictor):
    points = gold["pts"][:1] / [80, 60]
    check(gold, "normalized", predictor.predict(points, [1], normalize_coords=False))


def test_refining_a_mask(gold, predictor):
    point = (gold["pts"][:1], [1])
    _, ious, low = predictor.predict(*point)
    best = low[ious.argmax()][None]
    refined = predictor.predict(*point, mask_input=best, multimask_output=False)
    check(gold, "mask_input", refined)


@pytest.mark.parametrize(
    ("case", "options"),
    [
        ("no_holes", {"max_hole_area": 0}),
        ("sprinkle", {"mask_threshold": 0.5, "max_hole_area": 40, "max_sprinkle_area": 40}),
    ],
)
def test_clean_up(gold, heads, predictor, case, options):
    other = SAM3InteractiveImagePredictor(heads, **options)
    check(gold, case, other.predict_on(predictor._images, gold["pts"][:1], [1]))


def test_batch(gold, heads):
    predictor = SAM3InteractiveImagePredictor(heads)
    predictor.set_image_batch([IMAGE, SECOND])
    points = [gold["pts"][:1], gold["pts"][1:3] * 0.5]
    for i, found in enumerate(zip(*predictor.predict_batch(points, [[1], [1, 0]]), strict=True)):
        check(gold, f"batch{i}", found)

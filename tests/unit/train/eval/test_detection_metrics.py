"""Metrics against numbers worked out by hand and against pycocotools."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sam3.train.eval.detection_metrics import (
    average_precision,
    best_score_threshold,
    concept_f1,
    matched_iou,
    mean_average_precision,
    presence_metrics,
    rows,
)
from sam3.train.eval.matching_records import PairRecord, box_iou, mask_iou, match_optimally


def _pair(
    ious: list[list[float]], scores: list[float], gts: int, presence: float = 0.9, **more: object
) -> PairRecord:
    matrix = np.array(ious, dtype=float).reshape(len(scores), gts)
    return PairRecord(matrix, matrix, np.array(scores, dtype=float), presence, **more)


PERFECT = _pair([[1, 0], [0, 1]], [0.9, 0.8], 2)
HALF = _pair([[0.6, 0.1]], [0.7], 2)
FALSE_ALARM = _pair([], [0.95], 0, presence=0.8)
QUIET = _pair([], [], 0, presence=0.1)
MISSED = _pair([], [], 1, presence=0.2)


def test_mask_and_box_iou() -> None:
    a = np.zeros((2, 4, 4), dtype=bool)
    a[0, :2], a[1, :, :1] = True, True
    b = np.zeros((2, 4, 4), dtype=bool)
    b[0, 1:3] = True
    assert mask_iou(a, b) == pytest.approx(np.array([[4 / 12, 0], [2 / 10, 0]]))
    boxes = box_iou(np.array([[0, 0, 2, 2]]), np.array([[1, 1, 3, 3], [5, 5, 6, 6]]))
    assert boxes == pytest.approx(np.array([[1 / 7, 0]]))
    assert mask_iou(a[:0], b).shape == (0, 2) and box_iou(
        np.zeros((0, 4)), np.zeros((0, 4))
    ).shape == (0, 0)


def test_assignment_maximises_the_total() -> None:
    ious = np.array([[0.9, 0.8], [0.85, 0.1]])
    rows_, columns = match_optimally(ious)
    assert list(zip(rows_.tolist(), columns.tolist(), strict=True)) == [(0, 1), (1, 0)]


def test_ap_by_hand() -> None:
    assert average_precision([PERFECT], 0.95) == 1
    # 3 hits of 4 in score order 1 1 1: precision 1 up to recall .75 -> 76 of 101 points.
    assert average_precision([PERFECT, HALF], 0.5) == pytest.approx(76 / 101)
    assert average_precision([PERFECT, HALF], 0.65) == pytest.approx(51 / 101)
    # The false alarm ranks first: precisions 1/2, 2/3, 3/4 -> envelope 3/4 up to recall .75.
    assert average_precision([PERFECT, HALF, FALSE_ALARM], 0.5) == pytest.approx(76 * 0.75 / 101)
    assert average_precision([MISSED], 0.5) == 0
    assert math.isnan(average_precision([QUIET], 0.5))
    # HALF counts up to threshold .6: 3 thresholds with 76 points, 7 with 51.
    assert mean_average_precision([PERFECT, HALF]) == pytest.approx((3 * 76 + 7 * 51) / 1010)


def test_ap_counts_a_second_hit_on_the_same_instance_as_wrong() -> None:
    record = _pair([[0.9], [0.8]], [0.9, 0.8], 1)
    assert average_precision([record], 0.5) == 1
    swapped = [_pair([[0.9], [0.8]], [0.9, 0.8], 1), _pair([[0.7]], [0.5], 1)]
    # hit, wrong, hit: precision 1 up to recall .5, then 2/3.
    assert average_precision(swapped, 0.5) == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_ap_equals_pycocotools() -> None:
    coco = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    mask_tools = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    images, truths, found, records = [], [], [], []
    for pair in range(1, 60):
        gt = _blobs(rng, int(rng.integers(0, 5)))
        noise = [np.roll(mask, rng.integers(-1, 2, 2), (0, 1)) for mask in gt if rng.random() < 0.9]
        pred = (
            np.array(noise + list(_blobs(rng, int(rng.integers(0, 3)))))
            .reshape(-1, 40, 40)
            .astype(bool)
        )
        scores = (rng.random(len(pred)) + np.arange(len(pred), 0, -1) / 5).round(2)
        images.append({"id": pair, "width": 40, "height": 40})
        for mask in gt:
            rle = mask_tools.encode(np.asfortranarray(mask.astype(np.uint8)))
            truths.append({
                "id": len(truths) + 1, "image_id": pair, "category_id": 1, "iscrowd": 0,
                "area": float(mask.sum()), "segmentation": rle, "bbox": [0, 0, 40, 40],
            })  # fmt: skip
        for mask, score in zip(pred, scores, strict=True):
            rle = mask_tools.encode(np.asfortranarray(mask.astype(np.uint8)))
            found.append(
                {"image_id": pair, "category_id": 1, "segmentation": rle, "score": float(score)}
            )
        records.append(PairRecord(mask_iou(pred, gt), mask_iou(pred, gt), scores, 1.0))
    truth = coco.COCO()
    truth.dataset = {"images": images, "annotations": truths, "categories": [{"id": 1}], "info": {}}
    truth.createIndex()
    judge = evaluation.COCOeval(truth, truth.loadRes(found), "segm")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    assert 0.2 < judge.stats[1] < 0.95
    assert average_precision(records, 0.5) == pytest.approx(judge.stats[1], abs=1e-9)
    assert average_precision(records, 0.75) == pytest.approx(judge.stats[2], abs=1e-9)
    assert mean_average_precision(records) == pytest.approx(judge.stats[0], abs=1e-9)


def _blobs(rng: np.random.Generator, count: int) -> np.ndarray:
    masks = np.zeros((count, 40, 40), dtype=bool)
    for mask in masks:
        y, x = rng.integers(0, 28, 2)
        mask[y : y + rng.integers(6, 12), x : x + rng.integers(6, 12)] = True
    return masks


def test_matched_iou_by_hand() -> None:
    values = matched_iou([PERFECT, HALF, MISSED])
    assert values["mask_iou_missed_0"] == pytest.approx((1 + 1 + 0.6 + 0 + 0) / 5)
    assert values["mask_iou_matched"] == pytest.approx((1 + 1 + 0.6) / 3)
    assert values["recall_50"] == pytest.approx(3 / 5)
    # Above .85 only the first prediction of PERFECT is left.
    assert matched_iou([PERFECT, HALF], 0.85)["mask_iou_missed_0"] == pytest.approx(1 / 4)


def test_concept_f1_by_hand() -> None:
    records = [PERFECT, HALF, FALSE_ALARM, QUIET, MISSED]
    values = concept_f1(records)
    # Image level: TP 2, FN 1, FP 1, TN 1.
    mcc = (2 * 1 - 1 * 1) / math.sqrt(3 * 3 * 2 * 2)
    assert values["IL_MCC"] == pytest.approx(mcc, abs=1e-5)
    # At .5: TP 3, FP on positive pairs 0, FN 2; at .65 and up: TP 2, FP 1, FN 3.
    low = 2 * 1 * 0.6 / 1.6
    high = 2 * (2 / 3) * 0.4 / (2 / 3 + 0.4)
    assert values["pmF1@0.5"] == pytest.approx(low, abs=2e-4)
    assert values["pmF1"] == pytest.approx((3 * low + 7 * high) / 10, abs=2e-4)
    assert values["cgF1"] == pytest.approx(values["pmF1"] * mcc, abs=1e-4)


def test_presence_by_hand() -> None:
    values = presence_metrics([PERFECT, HALF, MISSED, FALSE_ALARM, QUIET])
    assert values["presence_accuracy"] == pytest.approx(3 / 5)
    assert values["presence_balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert values["presence_majority_rate"] == pytest.approx(3 / 5)


def test_best_threshold_cuts_the_low_false_alarms() -> None:
    record = _pair([[0.9], [0.1]], [0.62, 0.41], 1)
    threshold, f1 = best_score_threshold([record])
    assert 0.41 <= threshold < 0.62 and f1 == 1


def test_rows_split_by_kind_and_leave_out_empty_ones() -> None:
    hard = _pair([], [], 0, presence=0.1, hard_negative=True)
    colour = _pair([[1.0]], [0.9], 1, kind="colour")
    table = rows([PERFECT, HALF, colour, hard, QUIET])
    assert {name: row["pairs"] for name, row in table.items()} == {
        "all": 5, "full": 4, "colour only": 1, "one instance": 1, "several instances": 2,
        "hard negatives": 1, "other negatives": 1,
    }  # fmt: skip
    assert table["colour only"]["mask_AP50"] == 1 and math.isnan(
        table["hard negatives"]["mask_AP50"]
    )


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be \[predictions, ground truths\] = \(1, 2\)"):
        PairRecord(np.zeros((1, 2)), np.zeros((2, 2)), np.zeros(1), 0.5)

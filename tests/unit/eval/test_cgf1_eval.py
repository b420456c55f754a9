"""cgF1 against stored metrics, by hand on pairs small enough to count, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sam3.errors import InputError
from sam3.eval.cgf1_eval import CGF1Evaluator
from sam3.eval.cgf1_metrics import (
    PairCounts,
    best_of,
    concept_metrics,
    image_level_metrics,
)

STORED = json.loads((Path(__file__).parents[2] / "golden" / "train" / "cgf1.json").read_text())


def write(folder: Path, name: str, value: Any) -> Path:
    path = folder / name
    path.write_text(json.dumps(value))
    return path


@pytest.mark.parametrize("case", sorted(STORED["results"]))
def test_golden(case: str, tmp_path: Path) -> None:
    kind, iou_type = case.split("_")
    paths = [write(tmp_path, f"gt{i}.json", gt) for i, gt in enumerate(STORED["gts"])]
    predictions = write(tmp_path, "pred.json", STORED["preds"])
    evaluator = CGF1Evaluator(paths[0] if kind == "single" else paths, iou_type)
    metrics = evaluator.evaluate(predictions)
    assert metrics.keys() == STORED["results"][case].keys()
    for name, wanted in STORED["results"][case].items():
        assert metrics[name] == pytest.approx(wanted, rel=1e-6, abs=1e-9), name


def truth(pairs: int, boxes: list[tuple[int, list[int]]], **flags: Any) -> dict[str, Any]:
    return {
        "images": [{"id": i, **flags} for i in range(pairs)],
        "annotations": [{"image_id": i, "bbox": box} for i, box in boxes],
    }


def row(pair: int, box: list[float], score: float = 0.9) -> dict[str, Any]:
    return {"image_id": pair, "category_id": 1, "bbox": box, "score": score}


def evaluate(folder: Path, gts: Any, rows: list[dict[str, Any]]) -> dict[str, float]:
    gts = gts if isinstance(gts, list) else [gts]
    paths = [write(folder, f"gt{i}.json", gt) for i, gt in enumerate(gts)]
    found = CGF1Evaluator(paths).evaluate(write(folder, "pred.json", rows))
    return {name.removeprefix("cgF1_eval_bbox_"): value for name, value in found.items()}


def test_negative_pairs_hurt_the_image_level_only(tmp_path: Path) -> None:
    gt = truth(3, [(0, [0, 0, 10, 10])])
    rows = [row(0, [0, 0, 10, 10]), row(1, [0, 0, 5, 5])]  # right, wrong; pair 2 rightly empty
    metrics = evaluate(tmp_path, gt, rows)
    assert metrics["positive_micro_F1"] == pytest.approx(1, abs=2e-4)
    assert metrics["precision"] == pytest.approx(1 / 2, abs=2e-4)
    assert metrics["positive_micro_precision"] == pytest.approx(1, abs=2e-4)
    assert metrics["IL_MCC"] == pytest.approx(1 / 2, abs=1e-5)  # (1 * 1 - 1 * 0) / sqrt(2 * 2)
    assert metrics["IL_FPR"] == pytest.approx(1 / 2, abs=1e-5)
    assert metrics["cgF1"] == pytest.approx(1 / 2, abs=3e-4)


def test_missed_pairs_count_in_the_micro_average_only(tmp_path: Path) -> None:
    gt = truth(3, [(0, [0, 0, 10, 10]), (1, [0, 0, 10, 10])])
    metrics = evaluate(tmp_path, gt, [row(0, [0, 0, 10, 10])])
    assert metrics["recall"] == pytest.approx(1 / 2, abs=2e-4)
    assert metrics["positive_micro_F1"] == pytest.approx(2 / 3, abs=3e-4)
    assert metrics["positive_macro_F1"] == pytest.approx(1, abs=2e-4)


@pytest.mark.parametrize(("score", "counts"), [(0.5, True), (0.49999, False)])
def test_score_threshold(tmp_path: Path, score: float, counts: bool) -> None:
    metrics = evaluate(tmp_path, truth(1, [(0, [0, 0, 4, 4])]), [row(0, [0, 0, 4, 4], score)])
    assert (metrics["recall"] > 0.9) is counts


def test_iou_thresholds(tmp_path: Path) -> None:
    # IoU 0.8: a hit at 0.5, 0.55 ... 0.8, that is at 7 of 10 thresholds.
    metrics = evaluate(tmp_path, truth(1, [(0, [0, 0, 10, 10])]), [row(0, [0, 0, 10, 8])])
    assert metrics["recall"] == pytest.approx(0.7, abs=1e-3)
    assert metrics["recall@0.75"] == pytest.approx(1, abs=2e-4)


def test_assignment_is_optimal_not_greedy() -> None:
    ious = np.array([[0.9, 0.6], [0.8, 0.0]])  # greedy takes 0.9 and then nothing
    assert PairCounts.from_ious(ious).tp[0] == 2


def test_oracle_takes_the_kinder_annotator(tmp_path: Path) -> None:
    wrong, right = truth(2, [(0, [50, 50, 9, 9])]), truth(2, [(0, [0, 0, 9, 9])])
    metrics = evaluate(tmp_path, [wrong, right], [row(0, [0, 0, 9, 9])])
    assert metrics["positive_micro_F1"] == pytest.approx(1, abs=2e-4)
    # An annotator who agrees that there is nothing is better than one who is half satisfied.
    nothing, something = (
        PairCounts.from_ious(np.zeros((0, 0))),
        PairCounts.from_ious(np.zeros((0, 1))),
    )
    assert best_of([something, nothing]) is nothing
    assert best_of([something, something]) is something


def test_pairs_that_one_annotator_calls_incomplete_are_left_out(tmp_path: Path) -> None:
    gts = [truth(2, [(1, [0, 0, 9, 9])]) for _ in range(2)]
    gts[1]["images"][0]["is_instance_exhaustive"] = False
    metrics = evaluate(tmp_path, gts, [row(0, [0, 0, 5, 5]), row(1, [0, 0, 9, 9])])
    assert metrics["precision"] == pytest.approx(1, abs=2e-4)


def test_polygons_and_run_lengths_are_compared(tmp_path: Path) -> None:
    polygon = [[2, 2, 8, 2, 8, 8, 2, 8]]
    gt = {
        "images": [{"id": 0, "height": 10, "width": 12}],
        "annotations": [{"image_id": 0, "segmentation": polygon}],
    }
    counts = [22] + [6, 4] * 5 + [6, 42]  # six columns of six pixels
    rows = [{"image_id": 0, "score": 1.0, "segmentation": {"size": [10, 12], "counts": counts}}]
    evaluator = CGF1Evaluator([write(tmp_path, "gt.json", gt)], "segm")
    metrics = evaluator.evaluate(write(tmp_path, "pred.json", rows))
    assert metrics["cgF1_eval_segm_recall"] == pytest.approx(1, abs=2e-4)


@pytest.mark.parametrize(
    ("truth", "guess", "expected"),
    [
        ([1, 1, 0, 0], [1, 1, 0, 0], 1.0),
        ([1, 0], [0, 1], -1.0),
        ([1, 0, 1, 0], [1, 1, 0, 0], 0.0),
        ([1, 1], [1, 1], 0.0),
    ],
)
def test_image_level_mcc(truth: list[int], guess: list[int], expected: float) -> None:
    found = image_level_metrics(np.array(truth, bool), np.array(guess, bool))
    assert found["IL_MCC"] == pytest.approx(expected, abs=1e-5)


def test_nothing_at_all_gives_numbers() -> None:
    metrics = concept_metrics([])
    assert all(value == 0.0 for value in metrics.values())
    empty = concept_metrics([PairCounts.from_ious(np.zeros((0, 0)))] * 3)
    assert empty["IL_MCC"] == 0.0 and empty["cgF1"] == 0.0


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="iou_type"):
        CGF1Evaluator("gt.json", "points")
    with pytest.raises(InputError, match="at least one"):
        CGF1Evaluator([])
    with pytest.raises(InputError, match="no file"):
        CGF1Evaluator(tmp_path / "missing.json").evaluate(tmp_path / "also.json")
    with pytest.raises(InputError, match="different pairs, such as \\[2\\]"):
        evaluate(tmp_path, [truth(3, []), truth(2, [])], [])
    broken = tmp_path / "broken.json"
    broken.write_text("[1, 2")
    with pytest.raises(InputError, match="not JSON"):
        CGF1Evaluator(broken).evaluate(broken)

"""Instance metrics over (picture, phrase) pairs as pure numpy functions.

A :class:`PairRecord` keeps only what the metrics need: the IoU of every prediction with every
ground-truth instance, scores and presence. AP follows COCO (one category, every pair is an image,
all areas, 101 recall points, no limit of detections); cgF1, pmF1 and IL_MCC follow SA-Co.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ...eval.cgf1_metrics import IOU_THRESHOLDS, PairCounts, concept_metrics
from .matching_records import PairRecord, match_optimally

_RECALL_POINTS = np.linspace(0, 1, 101)


def average_precision(records: Sequence[PairRecord], iou_threshold: float) -> float:
    """COCO AP at one mask IoU threshold over all pairs, absent ones too; NaN without instances."""
    total = sum(record.num_gt for record in records)
    if total == 0:
        return float("nan")
    scores, hits = [], []
    for record in records:
        order = np.argsort(-record.scores, kind="stable")
        scores.append(record.scores[order])
        hits.append(_greedy_hits(record.mask_ious[order], iou_threshold))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    hit = np.concatenate(hits)[order]
    true_positives = np.cumsum(hit)
    if not len(hit):
        return 0.0
    recall = true_positives / total
    precision = true_positives / np.arange(1, len(hit) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, _RECALL_POINTS, side="left")
    return float(np.append(precision, 0.0)[at].mean())


def _greedy_hits(ious: np.ndarray, threshold: float) -> np.ndarray:
    """Best free ground truth for each prediction in score order. ious [P, G] -> [P] bool."""
    free = np.ones(ious.shape[1], dtype=bool)
    hits = np.zeros(len(ious), dtype=bool)
    for row, values in enumerate(ious):
        values = np.where(free, values, -1.0)
        # COCO keeps the last of equal candidates.
        best = len(values) - 1 - int(np.argmax(values[::-1])) if len(values) else -1
        if best >= 0 and values[best] >= min(threshold, 1 - 1e-10):
            free[best], hits[row] = False, True
    return hits


def mean_average_precision(records: Sequence[PairRecord]) -> float:
    """AP averaged over mask IoU 0.5:0.05:0.95."""
    return float(np.mean([average_precision(records, t) for t in IOU_THRESHOLDS]))


def matched_iou(records: Sequence[PairRecord], score_threshold: float = 0.5) -> dict[str, float]:
    """IoU of each ground-truth instance with its optimally assigned prediction above the threshold.

    ``mask_iou_missed_0``: over all instances, unassigned ones count 0; ``mask_iou_matched``: over
    those assigned with IoU >= 0.5; ``box_iou_missed_0``: box IoU of the same pairs; ``recall_50``.
    """
    mask_values: list[np.ndarray] = []
    box_values: list[np.ndarray] = []
    for record in records:
        kept = record.above(score_threshold)
        mask, box = np.zeros(record.num_gt), np.zeros(record.num_gt)
        rows, columns = match_optimally(kept.mask_ious)
        mask[columns] = kept.mask_ious[rows, columns]
        box[columns] = kept.box_ious[rows, columns]
        mask_values.append(mask)
        box_values.append(box)
    masks = np.concatenate(mask_values) if mask_values else np.zeros(0)
    boxes = np.concatenate(box_values) if box_values else np.zeros(0)
    return {
        "mask_iou_missed_0": _mean(masks),
        "mask_iou_matched": _mean(masks[masks >= 0.5]),
        "box_iou_missed_0": _mean(boxes),
        "recall_50": _mean(masks >= 0.5),
    }


def concept_f1(records: Sequence[PairRecord], score_threshold: float = 0.5) -> dict[str, float]:
    """cgF1 = pmF1 * IL_MCC with both factors, each averaged over IoU 0.5:0.05:0.95, and at 0.5.

    pmF1 counts false positives only on pairs that have ground truth; IL_MCC judges whether a
    pair has any prediction at all.
    """
    kept = [record.above(score_threshold) for record in records]
    found = concept_metrics([PairCounts.from_ious(record.mask_ious) for record in kept])
    return {
        "cgF1": found["cgF1"],
        "pmF1": found["positive_micro_F1"],
        "IL_MCC": found["IL_MCC"],
        "cgF1@0.5": found["cgF1@0.5"],
        "pmF1@0.5": found["positive_micro_F1@0.5"],
    }


def presence_metrics(records: Sequence[PairRecord], threshold: float = 0.5) -> dict[str, float]:
    """Accuracy of presence > threshold, its balanced form, and the majority rate."""
    truth = np.array([r.num_gt > 0 for r in records], dtype=bool)
    guess = np.array([r.presence > threshold for r in records], dtype=bool)
    rates = [_mean(guess[truth]), _mean(~guess[~truth])]
    return {
        "presence_accuracy": _mean(truth == guess),
        "presence_balanced_accuracy": float(
            np.mean([r for r in rates if not np.isnan(r)] or [np.nan])
        ),
        "presence_majority_rate": float(max(truth.mean(), 1 - truth.mean()))
        if len(truth)
        else float("nan"),
        "presence_recall": rates[0],
        "presence_specificity": rates[1],
    }


def best_score_threshold(records: Sequence[PairRecord]) -> tuple[float, float]:
    """(threshold, F1) of the score cut with the highest micro F1 at IoU 0.5.

    False positives of all pairs count.
    """
    best = (0.5, -1.0)
    for threshold in np.linspace(0.05, 0.95, 19):
        hit = predicted = instances = 0
        for record in records:
            kept = record.above(float(threshold))
            rows, columns = match_optimally(kept.mask_ious)
            hit += int((kept.mask_ious[rows, columns] >= 0.5).sum())
            predicted += len(kept.scores)
            instances += record.num_gt
        f1 = 2 * hit / (predicted + instances) if predicted + instances else 0.0
        if f1 > best[1]:
            best = (round(float(threshold), 2), f1)
    return best


def summarise(records: Sequence[PairRecord], score_threshold: float = 0.5) -> dict[str, float]:
    """Every number of this module for one set of pairs."""
    threshold, f1 = best_score_threshold(records)
    return {
        "pairs": float(len(records)),
        "instances": float(sum(r.num_gt for r in records)),
        "mask_AP50": average_precision(records, 0.5),
        "mask_AP": mean_average_precision(records),
        **matched_iou(records, score_threshold),
        **concept_f1(records, score_threshold),
        **presence_metrics(records),
        "best_threshold": threshold,
        "best_threshold_F1@0.5": f1,
    }


_ROWS: Mapping[str, Callable[[PairRecord], bool]] = {
    "all": lambda r: True,
    "full": lambda r: r.kind == "full",
    "shape only": lambda r: r.kind == "shape",
    "colour only": lambda r: r.kind == "colour",
    "any object": lambda r: r.kind == "any",
    "patterned": lambda r: r.kind == "patterned",
    "box, no text": lambda r: r.kind == "visual",
    "one instance": lambda r: r.num_gt == 1,
    "several instances": lambda r: r.num_gt > 1,
    "hard negatives": lambda r: r.hard_negative,
    "other negatives": lambda r: r.num_gt == 0 and not r.hard_negative,
}


def rows(
    records: Sequence[PairRecord], score_threshold: float = 0.5
) -> dict[str, dict[str, float]]:
    """One summary per kind of phrase; kinds without any pair are left out."""
    chosen = {name: [r for r in records if test(r)] for name, test in _ROWS.items()}
    return {name: summarise(part, score_threshold) for name, part in chosen.items() if part}


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")

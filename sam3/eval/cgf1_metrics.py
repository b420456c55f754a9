"""cgF1, pmF1 and IL_MCC of SA-Co, from the IoU of predictions with ground truth, pair by pair.

A pair is a picture (or video) and a phrase. cgF1 = pmF1 x IL_MCC: how well objects are found where
there are some, and how well it is told whether there are any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import MissingDependencyError

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
_AT = {"@0.5": 0, "@0.75": 5}
_COUNT_EPS, _IMAGE_EPS = 1e-4, 1e-6


@dataclass(frozen=True)
class PairCounts:
    """Outcome of one pair: hits at each IoU threshold, and how many objects there are.

    tp: [thresholds] int64; num_predicted, num_gt: numbers of predictions and of true objects.
    """

    tp: np.ndarray
    num_predicted: int
    num_gt: int

    @classmethod
    def from_ious(cls, ious: np.ndarray) -> PairCounts:
        """Counts of the assignment of greatest total IoU; ious [predictions, true objects]."""
        predicted, truths = ious.shape
        matched = _assigned(ious)
        tp = (matched[:, None] >= IOU_THRESHOLDS).sum(0).astype(np.int64)
        return cls(tp, predicted, truths)

    @property
    def is_perfect_nothing(self) -> bool:
        """Whether there is nothing, and nothing was found."""
        return self.num_predicted == 0 and self.num_gt == 0

    def local_f1(self) -> np.ndarray:
        """F1 of this pair alone at each threshold, [thresholds]."""
        return f1(self.tp, self.num_predicted - self.tp, self.num_gt - self.tp)[2]


def _assigned(ious: np.ndarray) -> np.ndarray:
    """IoU of every assigned pair of a matrix [P, G], min(P, G) values."""
    if not ious.size:
        return np.zeros(0)
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise MissingDependencyError("cgF1 needs SciPy: pip install scipy") from error
    rows, columns = linear_sum_assignment(ious, maximize=True)
    return ious[rows, columns]


def f1(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray) -> tuple[np.ndarray, ...]:
    """Precision, recall and F1 of counts, elementwise; 0 where there is nothing."""
    precision = tp / (tp + fp + _COUNT_EPS)
    recall = tp / (tp + fn + _COUNT_EPS)
    return precision, recall, 2 * precision * recall / (precision + recall + _COUNT_EPS)


def best_of(choices: Sequence[PairCounts]) -> PairCounts:
    """The oracle's choice among several ground truths of a pair: the highest mean local F1.

    A ground truth that agrees that there is nothing is perfect.
    """
    best = max(range(len(choices)), key=lambda i: _merit(choices[i]))
    return choices[best]


def _merit(counts: PairCounts) -> float:
    return float("inf") if counts.is_perfect_nothing else float(counts.local_f1().mean())


def concept_metrics(pairs: Sequence[PairCounts]) -> dict[str, float]:
    """Every metric over all pairs, averaged over IoU thresholds, and ``@0.5`` and ``@0.75``.

    ``precision`` and ``F1`` count false positives of all pairs, ``positive_*`` only those of pairs
    with objects; ``IL_*`` judge per pair whether anything was found. Values in [0, 1], IL_MCC in
    [-1, 1].
    """
    none = np.zeros(len(IOU_THRESHOLDS))
    positive = [p for p in pairs if p.num_gt]
    tp = sum((p.tp for p in pairs), none)
    fn = sum(p.num_gt for p in pairs) - tp
    precision, recall, all_f1 = f1(tp, sum(p.num_predicted for p in pairs) - tp, fn)
    fp_positive = sum((p.num_predicted - p.tp for p in positive), none)
    positive_precision, _, positive_f1 = f1(tp, fp_positive, fn)
    answered = [p.local_f1() for p in positive if p.num_predicted]
    image_level = image_level_metrics(
        np.array([p.num_gt > 0 for p in pairs], dtype=bool),
        np.array([p.num_predicted > 0 for p in pairs], dtype=bool),
    )
    curves = {
        "cgF1": positive_f1 * image_level["IL_MCC"],
        "precision": precision,
        "recall": recall,
        "F1": all_f1,
        "positive_macro_F1": np.mean(answered, axis=0) if answered else none,
        "positive_micro_F1": positive_f1,
        "positive_micro_precision": positive_precision,
    }
    metrics = {name: float(curve.mean()) for name, curve in curves.items()} | image_level
    for suffix, index in _AT.items():
        metrics |= {name + suffix: float(curve[index]) for name, curve in curves.items()}
    return metrics


def image_level_metrics(has_gt: np.ndarray, has_prediction: np.ndarray) -> dict[str, float]:
    """How well "something was found" tells "something is there"; both bool [pairs]."""
    tp = int((has_gt & has_prediction).sum())
    fp = int((~has_gt & has_prediction).sum())
    fn = int((has_gt & ~has_prediction).sum())
    tn = int((~has_gt & ~has_prediction).sum())
    precision = tp / (tp + fp + _IMAGE_EPS)
    recall = tp / (tp + fn + _IMAGE_EPS)
    scale = float(tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return {
        "IL_precision": precision,
        "IL_recall": recall,
        "IL_F1": 2 * precision * recall / (precision + recall + _IMAGE_EPS),
        "IL_FPR": fp / (fp + tn + _IMAGE_EPS),
        "IL_MCC": (tp * tn - fp * fn) / (scale**0.5 + _IMAGE_EPS),
    }

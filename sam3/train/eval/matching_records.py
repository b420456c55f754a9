"""What one (picture, phrase) pair leaves behind for the metrics, and the assignment they share."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class PairRecord:
    """Result of one phrase on one picture.

    mask_ious, box_ious: [P, G] float, predictions by ground truths; scores: [P] joint scores;
    presence: probability that the phrase is there at all; kind: kind of phrase;
    hard_negative: absent, but one attribute away from a present object.
    """

    mask_ious: np.ndarray
    box_ious: np.ndarray
    scores: np.ndarray
    presence: float
    kind: str = "full"
    hard_negative: bool = False

    def __post_init__(self) -> None:
        shape = (len(self.scores), self.num_gt)
        if self.mask_ious.shape != shape or self.box_ious.shape != shape:
            raise ValueError(
                f"mask_ious {self.mask_ious.shape} and box_ious {self.box_ious.shape} must be "
                f"[predictions, ground truths] = {shape}"
            )

    @property
    def num_gt(self) -> int:
        """Number of ground-truth instances."""
        return int(self.mask_ious.shape[1])

    def above(self, score_threshold: float) -> PairRecord:
        """The record with only the predictions whose score exceeds the threshold."""
        keep = self.scores > score_threshold
        return replace(
            self,
            mask_ious=self.mask_ious[keep],
            box_ious=self.box_ious[keep],
            scores=self.scores[keep],
        )

    @classmethod
    def from_masks(
        cls,
        pred_masks: np.ndarray,
        pred_boxes: np.ndarray,
        scores: np.ndarray,
        presence: float,
        gt_masks: np.ndarray,
        gt_boxes: np.ndarray,
        kind: str = "full",
        hard_negative: bool = False,
    ) -> PairRecord:
        """Masks [P|G, H, W] bool at picture size, boxes [P|G, 4] xyxy pixels, scores [P]."""
        return cls(
            mask_iou(pred_masks, gt_masks),
            box_iou(pred_boxes, gt_boxes),
            np.asarray(scores, dtype=np.float64),
            float(presence),
            kind,
            hard_negative,
        )


def mask_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """IoU of bool masks [P, H, W] and [G, H, W] -> [P, G] float64; 0 for two empty masks.

    Counts pair by pair inside the box of the second mask, so that pictures of any size fit.
    """
    result = np.zeros((len(first), len(second)))
    areas = [int(np.count_nonzero(mask)) for mask in first]
    for column, other in enumerate(second):
        window = _window(other)
        inside = other[window]
        own = int(np.count_nonzero(inside))
        for row, mask in enumerate(first):
            inter = int(np.count_nonzero(mask[window] & inside))
            result[row, column] = inter / max(1, areas[row] + own - inter)
    return result


def _window(mask: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns that hold every True pixel of a [H, W] mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """IoU of xyxy boxes [P, 4] and [G, 4] -> [P, G] float64."""
    a, b = (
        np.asarray(first, dtype=np.float64).reshape(-1, 1, 4),
        np.asarray(second, dtype=np.float64).reshape(1, -1, 4),
    )
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    inter = np.clip(high - low, 0, None).prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - inter
    return inter / np.maximum(union, 1e-12)


def match_optimally(ious: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One-to-one assignment of greatest total IoU: (prediction rows, ground-truth columns)."""
    if not ious.size:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(ious, maximize=True)

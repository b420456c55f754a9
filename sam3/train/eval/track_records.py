"""What one phrase over one clip leaves behind for the metrics, and the matching they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .matching_records import mask_iou, match_optimally

MATCH_IOU = 0.5
NOBODY = -1


@dataclass(frozen=True)
class TrackRecord:
    """Predicted tracks against the objects that a phrase names.

    ious [T, P, G] float: 0 where a track or an object has no pixel; predicted [T, P] bool: the
    track has pixels; visible [T, G] bool: the object is to be seen; clear [T, G] bool: clearly;
    kind: of phrase; hard_negative: absent, but one attribute away from a present object.
    """

    ious: np.ndarray
    predicted: np.ndarray
    visible: np.ndarray
    clear: np.ndarray
    kind: str = "full"
    hard_negative: bool = False

    def __post_init__(self) -> None:
        shape = (*self.predicted.shape, self.visible.shape[-1])
        if self.ious.shape != shape or self.clear.shape != self.visible.shape:
            raise ValueError(
                f"ious {self.ious.shape} must be [frames, tracks, objects] = {shape}, and clear"
                f" {self.clear.shape} like visible {self.visible.shape}"
            )

    @classmethod
    def from_masks(
        cls,
        outputs: Sequence[Mapping[int, np.ndarray]],
        truth: np.ndarray,
        clear: np.ndarray,
        kind: str = "full",
        hard_negative: bool = False,
    ) -> TrackRecord:
        """outputs: per frame, track id -> bool [h, w]; truth [T, G, h, w] bool; clear [T, G]."""
        shown = [{i: m for i, m in frame.items() if m.any()} for frame in outputs]
        ids = sorted({i for frame in shown for i in frame})
        predicted = np.array([[i in frame for i in ids] for frame in shown], dtype=bool)
        predicted = predicted.reshape(len(shown), len(ids))
        ious = np.zeros((len(shown), len(ids), truth.shape[1]))
        for t, frame in enumerate(shown):
            masks = [frame[i] for i in ids if i in frame]
            if masks:
                ious[t, predicted[t]] = mask_iou(np.stack(masks), truth[t])
        return cls(ious, predicted, truth.any(axis=(2, 3)), clear, kind, hard_negative)

    @cached_property
    def matches(self) -> np.ndarray:
        """The track of each object in each frame, or NOBODY: [T, G] int64.

        One to one per frame, of greatest total IoU among the pairs of at least 0.5.
        """
        result = np.full(self.visible.shape, NOBODY, dtype=np.int64)
        for t, ious in enumerate(self.ious):
            enough = np.where(ious >= MATCH_IOU, ious, 0.0)
            rows, columns = match_optimally(enough)
            hit = enough[rows, columns] > 0
            result[t, columns[hit]] = rows[hit]
        return result

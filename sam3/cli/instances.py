"""What was found in one picture, as plain arrays: for drawing and for the record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..pipeline.segment import FrameResult


@dataclass(frozen=True)
class Instances:
    """n instances of one picture.

    Attributes:
        masks: ``[n, H, W]`` bool.
        boxes: ``[n, 4]`` floats, xyxy in pixels; they may reach beyond the picture.
        scores: n floats in 0..1.
        phrases: the phrase each one was found by.
    """

    masks: np.ndarray
    boxes: np.ndarray
    scores: tuple[float, ...]
    phrases: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def of(cls, result: FrameResult) -> Instances:
        """Instances of a pipeline result; full-size masks are made here, once."""
        return cls(
            masks=result.masks.cpu().numpy(),
            boxes=result.boxes.float().cpu().numpy(),
            scores=tuple(result.scores.float().tolist()),
            phrases=result.phrases,
        )

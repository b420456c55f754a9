"""What was found in one picture, as plain arrays: for drawing and for the record.

Full-size masks are looked at one after the other; what is kept of each is its run-length code and
the part inside its own bounds, so that hundreds of instances of a large picture need little memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..perflib.rle import encode_rle

if TYPE_CHECKING:
    from ..pipeline.segment import FrameResult

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Instance:
    """One instance.

    Attributes:
        phrase: what it was found by.
        score: 0 to 1.
        box: xyxy in pixels; it may reach beyond the picture.
        top: row of the picture where ``inside`` begins.
        left: column of the picture where ``inside`` begins.
        inside: ``[h, w]`` bool, the mask within its bounds; empty where the mask is.
        segmentation: the whole mask as COCO RLE.
    """

    phrase: str
    score: float
    box: Box
    top: int
    left: int
    inside: np.ndarray
    segmentation: dict[str, list[int]]

    @property
    def area(self) -> int:
        """Pixels inside."""
        return int(self.inside.sum())

    @classmethod
    def of_mask(cls, mask: np.ndarray, box: Box, score: float, phrase: str) -> Instance:
        """Instance of a full-size mask ``[H, W]`` bool."""
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        top, bottom = (int(rows[0]), int(rows[-1]) + 1) if rows.size else (0, 0)
        left, right = (int(columns[0]), int(columns[-1]) + 1) if columns.size else (0, 0)
        inside = mask[top:bottom, left:right].copy()
        return cls(phrase, score, box, top, left, inside, encode_rle(mask))


def instances_of(result: FrameResult) -> list[Instance]:
    """Instances of a pipeline result, in its order."""
    columns = zip(
        _masks(result),
        result.boxes.float().tolist(),
        result.scores.float().tolist(),
        result.phrases,
        strict=True,
    )
    return [
        Instance.of_mask(mask, (box[0], box[1], box[2], box[3]), score, phrase)
        for mask, box, score, phrase in columns
    ]


def _masks(result: FrameResult) -> Iterator[np.ndarray]:
    """Full-size masks ``[H, W]`` bool, phrase by phrase, few at a time."""
    from ..model.grounding_results import iter_masks

    for state in result.states:
        yield from (mask.cpu().numpy() for mask in _state_masks(state, iter_masks))


def _state_masks(state: dict[str, Any], lazily: Any) -> Any:
    if dict.__contains__(state, "masks"):  # at full size already
        masks = state["masks"]
        return masks.reshape(-1, *masks.shape[-2:])
    return lazily(state)

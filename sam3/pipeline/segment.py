"""One picture, several phrases, boxes and points -> instances and their union.

The picture is encoded once. Every phrase is searched on its own, together with the boxes and
points; instances that two phrases both find appear once for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from ..errors import InputError
from ..model.grounding_results import union_mask

if TYPE_CHECKING:
    from PIL import Image

# What the model was taught to read when only boxes or points are given.
GEOMETRY_ONLY_PHRASE = "visual"


class Processor(Protocol):
    """The part of ``Sam3Processor`` that is used here."""

    def set_image(self, image: Image.Image) -> dict[str, Any]:
        """Encode a picture."""
        ...

    def add_geometric_prompt(
        self, box: Any, label: bool, state: dict[str, Any], *, run: bool = True
    ) -> dict[str, Any]:
        """Add a box, normalised cxcywh."""
        ...

    def add_point_prompt(
        self, point: Any, label: bool, state: dict[str, Any], *, run: bool = True
    ) -> dict[str, Any]:
        """Add a point, normalised xy."""
        ...

    def segment_phrases(self, phrases: list[str], state: dict[str, Any]) -> list[dict[str, Any]]:
        """One result per phrase."""
        ...


@dataclass(frozen=True)
class BoxPrompt:
    """A box in pixels, ``x0 < x1`` and ``y0 < y1``; ``positive`` false says "not like this"."""

    x0: float
    y0: float
    x1: float
    y1: float
    positive: bool = True


@dataclass(frozen=True)
class PointPrompt:
    """A point in pixels; ``positive`` false says "not here"."""

    x: float
    y: float
    positive: bool = True


@dataclass(frozen=True, kw_only=True)
class FrameResult:
    """What was found in one picture.

    Attributes:
        mask: ``[H, W]`` bool, union of all instances.
        boxes: ``[n, 4]`` float32, xyxy in pixels.
        scores: ``[n]`` float32, above the confidence threshold.
        phrases: the phrase each instance was found by, n entries.
        best_score: highest score of all candidates, those below the threshold included.
        best_phrase: the phrase that had it.
        states: the processor's results, one per phrase.
    """

    mask: Tensor
    boxes: Tensor
    scores: Tensor
    phrases: tuple[str, ...]
    best_score: float
    best_phrase: str
    states: tuple[dict[str, Any], ...] = field(repr=False)

    @cached_property
    def masks(self) -> Tensor:
        """``[n, H, W]`` bool, phrase by phrase.

        Made when it is first read: many instances of a large picture need much memory.
        """
        return torch.cat([state["masks"].reshape(-1, *self.mask.shape) for state in self.states])


def segment_frame(
    processor: Processor,
    image: Image.Image,
    phrases: Sequence[str],
    boxes: Sequence[BoxPrompt] = (),
    points: Sequence[PointPrompt] = (),
) -> FrameResult:
    """Find every phrase in one picture.

    Args:
        processor: a ``Sam3Processor`` with its confidence threshold set.
        image: RGB picture.
        phrases: what to look for; may be empty when boxes or points are given.
        boxes: box prompts in pixels of the picture.
        points: point prompts in pixels of the picture.

    Returns:
        The instances and their union, on the processor's device.

    Raises:
        InputError: nothing to look for, or a box or point that is not inside the picture.
    """
    if not phrases and not boxes and not points:
        raise InputError("There is nothing to look for: give a phrase, a box or a point.")
    width, height = image.size
    normalised_boxes = [_normalise_box(box, width, height) for box in boxes]
    normalised_points = [_normalise_point(point, width, height) for point in points]
    phrases = list(phrases) or [GEOMETRY_ONLY_PHRASE]

    state = processor.set_image(image)
    for cxcywh, box in zip(normalised_boxes, boxes, strict=True):
        state = processor.add_geometric_prompt(cxcywh, box.positive, state, run=False)
    for xy, point in zip(normalised_points, points, strict=True):
        state = processor.add_point_prompt(xy, point.positive, state, run=False)
    return _collect(phrases, processor.segment_phrases(phrases, state), height, width)


def _collect(
    phrases: list[str], results: list[dict[str, Any]], height: int, width: int
) -> FrameResult:
    """Join the results of all phrases."""
    names = [
        name
        for phrase, result in zip(phrases, results, strict=True)
        for name in [phrase] * len(result["scores"])
    ]
    best = max(range(len(results)), key=lambda i: float(results[i]["best_score"]))
    return FrameResult(
        mask=torch.stack([_union(r, height, width) for r in results]).any(dim=0),
        boxes=torch.cat([r["boxes"].reshape(-1, 4).float() for r in results]),
        scores=torch.cat([r["scores"].reshape(-1).float() for r in results]),
        phrases=tuple(names),
        best_score=float(results[best]["best_score"]),
        best_phrase=phrases[best],
        states=tuple(results),
    )


def _union(state: dict[str, Any], height: int, width: int) -> Tensor:
    """Union of one phrase's masks, ``[H, W]`` bool; those not at full size yet are never kept."""
    if dict.__contains__(state, "masks"):
        return state["masks"].reshape(-1, height, width).any(dim=0)
    return union_mask(state)


def _normalise_box(box: BoxPrompt, width: int, height: int) -> list[float]:
    """Pixels xyxy -> ``[cx, cy, w, h]`` in 0..1, clipped to the picture."""
    x0, x1 = (min(max(v, 0.0), float(width)) for v in (box.x0, box.x1))
    y0, y1 = (min(max(v, 0.0), float(height)) for v in (box.y0, box.y1))
    if not (x0 < x1 and y0 < y1):
        raise InputError(
            f"The box {box.x0:g},{box.y0:g},{box.x1:g},{box.y1:g} covers nothing of the "
            f"{width} x {height} picture. Give x0,y0,x1,y1 in pixels with x0 < x1 and y0 < y1."
        )
    return [
        (x0 + x1) / 2 / width,
        (y0 + y1) / 2 / height,
        (x1 - x0) / width,
        (y1 - y0) / height,
    ]


def _normalise_point(point: PointPrompt, width: int, height: int) -> list[float]:
    """Pixels xy -> ``[x, y]`` in 0..1."""
    if not (0 <= point.x <= width and 0 <= point.y <= height):
        raise InputError(
            f"The point {point.x:g},{point.y:g} is outside the {width} x {height} picture."
        )
    return [point.x / width, point.y / height]

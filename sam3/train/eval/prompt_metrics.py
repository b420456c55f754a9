"""Region similarity J of objects that were pointed out on frame 0, as pure numpy functions.

J is the IoU of predicted and true visible pixels. As in DAVIS, a frame on which an object is not to
be seen counts 1 if nothing is predicted, else 0; what that adds, the numbers over visible frames
alone tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PromptRecord:
    """One object followed through one clip.

    prompt: "click", "box" or "mask"; j [T] float; visible [T] bool: the object is to be seen;
    motion: its kind; objects: how many were prompted in the clip; area: share of the picture that
    the object covers on frame 0.
    """

    prompt: str
    j: np.ndarray
    visible: np.ndarray
    motion: str
    objects: int
    area: float

    def __post_init__(self) -> None:
        if self.j.shape != self.visible.shape or self.j.ndim != 1 or len(self.j) < 2:
            raise ValueError(
                f"j {self.j.shape} and visible {self.visible.shape} must hold one value per frame"
                " of 2 or more"
            )


def region_similarity(predicted: np.ndarray, truth: np.ndarray) -> float:
    """J of two bool masks [h, w]: their IoU, 1 for two empty ones."""
    union = int(np.count_nonzero(predicted | truth))
    return int(np.count_nonzero(predicted & truth)) / union if union else 1.0


def summarise(records: Sequence[PromptRecord]) -> dict[str, float]:
    """J of objects followed over clips of one length; frame 0, the prompted one, apart.

    ``J``: over frames 1 and later, every object counts alike; ``J_visible``: over frames on which
    the object is to be seen; ``absent_empty``: share of the other frames without a predicted pixel;
    ``J_first`` and ``J_last``: on the first and the last frame; ``followed``: share of visible
    frames with J of 0.5 and more.
    """
    j = np.stack([record.j for record in records])
    visible = np.stack([record.visible for record in records])
    later, seen = j[:, 1:], visible[:, 1:]
    return {
        "objects": float(len(records)),
        "J": float(later.mean()),
        "J_visible": _mean(later[seen]),
        "absent_frames": float((~seen).sum()),
        "absent_empty": _mean(later[~seen]),
        "J_first": float(j[:, 0].mean()),
        "J_last": float(j[:, -1].mean()),
        "followed": _mean(later[seen] >= 0.5),
    }


def j_by_frame(records: Sequence[PromptRecord]) -> list[float]:
    """Mean J of every frame, frame 0 first."""
    return [float(v) for v in np.stack([record.j for record in records]).mean(axis=0)]


_ROWS: Mapping[str, Callable[[PromptRecord], bool]] = {
    "one click": lambda r: r.prompt == "click",
    "box": lambda r: r.prompt == "box",
    "true mask": lambda r: r.prompt == "mask",
    "click, alone": lambda r: r.prompt == "click" and r.objects == 1,
    "click, several objects": lambda r: r.prompt == "click" and r.objects > 1,
    "click, stays": lambda r: r.prompt == "click" and r.motion == "stay",
    "click, crosses another": lambda r: r.prompt == "click" and r.motion == "cross",
    "click, leaves": lambda r: r.prompt == "click" and r.motion == "leave",
    "click, under 1 % of the picture": lambda r: r.prompt == "click" and r.area < 0.01,
}


def rows(records: Sequence[PromptRecord]) -> dict[str, dict[str, float]]:
    """One summary per way of prompting and kind of object; kinds without any are left out."""
    chosen = {name: [r for r in records if test(r)] for name, test in _ROWS.items()}
    return {name: summarise(part) for name, part in chosen.items() if part}


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")

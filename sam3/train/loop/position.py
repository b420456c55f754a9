"""How far a run is, across interruptions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class RunPosition:
    """Where a run stands; goes into checkpoints.

    Attributes:
        epoch: finished epochs.
        step: finished steps of the epoch that runs.
        steps: steps by phase, over the whole run.
        best: best value of every metric that counts.
    """

    epoch: int = 0
    step: int = 0
    steps: dict[str, int] = field(default_factory=lambda: {"train": 0, "val": 0})
    best: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> tuple[RunPosition, Mapping[str, Any]]:
        """The position in a checkpoint, and what else that says about the place in the epoch.

        Checkpoints without a place within the epoch are of the end of one.
        """
        place = state.get("position") or {}
        position = cls(
            epoch=int(state["epoch"]),
            step=int(place.get("step", 0)),
            steps={str(k): int(v) for k, v in state["steps"].items()},
            best=dict(state["best_meter_values"]),
        )
        return position, place


class RunTime:
    """Seconds of a run, those before an interruption included, and what is due every so often."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self.resume(0.0)

    def resume(self, elapsed: float) -> None:
        """Go on from ``elapsed`` seconds."""
        self._before = elapsed
        self._start = self._last = self._now()

    def start(self) -> None:
        """Time runs from now on; what went by since it was made does not count."""
        self.resume(self._before)

    @property
    def elapsed(self) -> float:
        """Seconds so far."""
        return self._before + self._now() - self._start

    def due(self, minutes: float) -> bool:
        """Whether so many minutes have passed since it was last due or noted; 0 = never."""
        return minutes > 0 and self._now() - self._last >= minutes * 60

    def note(self) -> None:
        """Begin to count the minutes of :meth:`due` anew."""
        self._last = self._now()

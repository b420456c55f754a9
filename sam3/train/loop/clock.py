"""How far a run is: by steps or by wall-clock time, across interruptions."""

from __future__ import annotations

import time
from collections.abc import Callable

from .config import TrainConfig


class RunClock:
    """Elapsed time of a training over all its runs, and the share that is done."""

    def __init__(self, config: TrainConfig, now: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._now = now
        self._before = 0.0
        self._start = now()
        self._last: dict[str, float] = {}

    @property
    def elapsed(self) -> float:
        """Seconds of training, including earlier runs."""
        return self._before + self._now() - self._start

    def resume(self, elapsed: float) -> None:
        """Go on from ``elapsed`` seconds of earlier runs."""
        self._before = elapsed
        self._start = self._now()
        self._last.clear()

    def progress(self, step: int) -> float:
        """Share in [0, 1] of the training that is done before step ``step``."""
        if self._config.steps is not None:
            return min(1.0, step / self._config.steps)
        assert self._config.minutes is not None  # checked by TrainConfig
        return min(1.0, self.elapsed / (self._config.minutes * 60))

    def due(self, what: str, minutes: float) -> bool:
        """Whether ``minutes`` have passed since ``what`` was last due (or since the start)."""
        now = self._now()
        if now - self._last.setdefault(what, self._start) < minutes * 60:
            return False
        self._last[what] = now
        return True

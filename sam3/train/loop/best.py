"""The best values of metrics, and which of them deserve a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..utils.checkpoint_utils import matching_names
from .validation import Meters, metric_name


class BestMetrics:
    """Compares metrics with the best before.

    A metric counts if its meter has ``is_better(name, new, old)``, or if it matches a pattern;
    then larger is better unless the meter says otherwise.

    Args:
        meters: as of the validation.
        patterns: of the full names of metrics whose best value is to be saved.
    """

    def __init__(self, meters: Meters, patterns: Sequence[str] | None) -> None:
        self._judges: dict[str, Any] = {
            f"{metric_name(key, name)}/": meter
            for key, by_name in meters.items()
            for name, meter in by_name.items()
            if hasattr(meter, "is_better")
        }
        self._patterns = list(patterns or ())

    def take(self, metrics: Mapping[str, float], best: dict[str, float]) -> list[str]:
        """Put what got better into ``best``; returns the names among them that are to be saved."""
        saved = matching_names(metrics, self._patterns)
        found = []
        for name, value in metrics.items():
            start = next((s for s in self._judges if name.startswith(s)), None)
            if start is None and name not in saved:
                continue
            if self._is_better(start, name, value, best.get(name)):
                best[name] = value
                if name in saved:
                    found.append(name)
        return found

    def _is_better(self, start: str | None, name: str, new: float, old: float | None) -> bool:
        if new != new:  # NaN
            return False
        if old is None:
            return True
        if start is None:
            return new > old
        return bool(self._judges[start].is_better(name.removeprefix(start), new, old))

"""``SAM3Output``: what a forward pass returns, stage by stage and step by step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from typing import Any, TypeAlias


class IterMode(Enum):
    """How iteration over a :class:`SAM3Output` walks its stages."""

    ALL_STEPS_PER_STAGE = auto()
    LAST_STEP_PER_STAGE = auto()
    FLATTENED = auto()


_Mode: TypeAlias = IterMode  # inside the class the name IterMode is an attribute


class SAM3Output:
    """List-like of stages, each a list of steps (interactive refinements), each an output dict.

    Iteration and indexing follow ``iter_mode``: the list of steps of each stage, only the last step
    of each stage, or all steps of all stages in a row.
    """

    IterMode = IterMode

    def __init__(
        self,
        output: list[list[dict[str, Any]]] | None = None,
        iter_mode: _Mode = IterMode.ALL_STEPS_PER_STAGE,
    ) -> None:
        self.output = [] if output is None else output
        self.iter_mode = iter_mode

    def _view(self) -> list[Any]:
        if self.iter_mode is IterMode.ALL_STEPS_PER_STAGE:
            return self.output
        if self.iter_mode is IterMode.LAST_STEP_PER_STAGE:
            return [steps[-1] for steps in self.output]
        return [step for steps in self.output for step in steps]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._view())

    def __getitem__(self, index: int) -> Any:
        return self._view()[index]

    def __len__(self) -> int:
        return len(self._view())

    def append(self, steps: list[dict[str, Any]]) -> None:
        """Add one stage."""
        self.output.append(steps)

    @staticmethod
    @contextmanager
    def iteration_mode(output: SAM3Output, iter_mode: _Mode) -> Iterator[SAM3Output]:
        """``output`` with another iteration mode inside a ``with`` block."""
        previous, output.iter_mode = output.iter_mode, iter_mode
        try:
            yield output
        finally:
            output.iter_mode = previous

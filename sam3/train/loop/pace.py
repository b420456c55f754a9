"""When a run ends, when it saves, and how far its schedules are; process 0 decides for all."""

from __future__ import annotations

from dataclasses import dataclass

from ...perflib.distributed import Collective
from .conf import CheckpointConf
from .position import RunTime
from .signals import StopSignals


@dataclass(frozen=True)
class Decision:
    """What happens before a step.

    time_share: of the allowed time that is gone; stop: on request; save: a checkpoint is due.
    """

    time_share: float
    stop: bool
    save: bool


class Pace:
    """The clock of a run.

    Args:
        max_epochs, max_minutes: what comes first ends the run; None = no limit of time.
    """

    def __init__(
        self,
        max_epochs: int,
        max_minutes: float | None,
        checkpoint: CheckpointConf,
        ranks: Collective,
    ) -> None:
        self.max_epochs = max_epochs
        self.max_minutes = max_minutes
        self.checkpoint = checkpoint
        self.ranks = ranks
        self.time = RunTime()

    def decide(self, signals: StopSignals, step: int) -> Decision:
        """What happens before step ``step`` of an epoch, the same in every process."""
        every = self.checkpoint.save_every_steps

        def make() -> Decision:
            due = self.time.due(self.checkpoint.save_minutes)
            due = due or (every > 0 and step > 0 and step % every == 0)
            return Decision(self._time_share(), signals.requested, due)

        return self.ranks.broadcast(make)

    def is_over(self, epoch: int) -> bool:
        """Whether nothing is left after ``epoch`` finished epochs."""
        return epoch >= self.max_epochs or self.ranks.broadcast(self._time_share) >= 1

    def where(self, epoch: int, share: float, time_share: float) -> float:
        """Share of the training that is done: of its epochs, or of its time if that is more."""
        return max((epoch + share) / self.max_epochs, time_share)

    def _time_share(self) -> float:
        if self.max_minutes is None:
            return 0.0
        return self.time.elapsed / (60 * self.max_minutes) if self.max_minutes > 0 else 1.0

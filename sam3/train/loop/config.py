"""Settings of a training run."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import InputError


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How long, how fast and how often.

    Attributes:
        steps, minutes: exactly one; the length in optimiser steps or in wall-clock minutes
            (summed over all runs of a resumed training).
        accumulation: batches per step and process; gradients are averaged.
        lr, warmup_steps, hold, final_lr: schedule, see ``optim.schedulers.WarmupHoldCosine``.
        betas, weight_decay: of AdamW.
        clip: limit of the gradient norm, None = none.
        ema_decay: of the averaged weights.
        seed: of torch on every process (plus its rank).
        log_every: steps per log line.
        checkpoint_minutes, evaluate_minutes: pause between checkpoints, between evaluations.
        threads: torch threads of each process, None = leave as is.
        device: of model and batches.
        workers: processes that make batches ahead, 0 = each is made when it is needed.
    """

    steps: int | None = None
    minutes: float | None = None
    accumulation: int = 1
    lr: float = 1e-3
    warmup_steps: int = 150
    hold: float = 0.6
    final_lr: float = 0.02
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.05
    clip: float | None = 1.0
    ema_decay: float = 0.998
    seed: int = 0
    log_every: int = 20
    checkpoint_minutes: float = 5.0
    evaluate_minutes: float = 5.0
    threads: int | None = None
    device: str = "cpu"
    workers: int = 0

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise InputError(
                f"give steps or minutes, not both and not neither (steps={self.steps}, "
                f"minutes={self.minutes})"
            )
        length = self.steps if self.steps is not None else self.minutes
        if length is not None and length <= 0:
            raise InputError(f"the training length must be positive, got {length}")
        if self.accumulation < 1 or self.log_every < 1 or self.workers < 0:
            raise InputError(
                "accumulation and log_every must be at least 1, workers at least 0; got "
                f"{self.accumulation}, {self.log_every} and {self.workers}"
            )

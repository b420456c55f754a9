"""Learning-rate schedules as functions of the step and of the share of training that is done."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ...errors import InputError
from .options import call_scheduler


@dataclass(frozen=True, kw_only=True)
class WarmupHoldCosine:
    """Linear warm-up over steps, a hold, then a cosine down to a share of the base rate.

    Attributes:
        base_lr: rate after warm-up.
        warmup_steps: steps of the linear rise; the first step already has a rate above 0.
        hold: share of training up to which the rate stays (in [0, 1]).
        final: share of ``base_lr`` at the end.
    """

    base_lr: float
    warmup_steps: int = 0
    hold: float = 0.0
    final: float = 0.0

    def __post_init__(self) -> None:
        if self.base_lr <= 0 or not 0 <= self.hold <= 1 or not 0 <= self.final <= 1:
            raise InputError(
                "a schedule needs base_lr > 0 and hold and final in [0, 1], got "
                f"base_lr={self.base_lr}, hold={self.hold}, final={self.final}"
            )
        if self.warmup_steps < 0:
            raise InputError(f"warmup_steps must not be negative, got {self.warmup_steps}")

    def __call__(self, step: int, where: float) -> float:
        """Rate of step ``step`` (from 0) at share ``where`` in [0, 1] of training."""
        warmup = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        if where <= self.hold:
            return self.base_lr * warmup
        along = min(1.0, (where - self.hold) / (1 - self.hold))
        cosine = 0.5 * (1 + math.cos(math.pi * along))
        return self.base_lr * warmup * (self.final + (1 - self.final) * cosine)


@dataclass(frozen=True)
class ConstantParamScheduler:
    """Always ``value``."""

    value: float

    def __call__(self, where: float) -> float:
        """``value``, whatever the share ``where`` of training."""
        return self.value


class InverseSquareRootParamScheduler:
    """Inverse square root decay with optional linear warm-up and cool-down, all in steps."""

    def __init__(
        self, base_lr: float, warmup_steps: int, cooldown_steps: int, timescale: int
    ) -> None:
        self.base_lr = base_lr
        self.warmup_steps = warmup_steps
        self.cooldown_steps = cooldown_steps
        self.timescale = timescale

    def __call__(self, step: int, where: float) -> float:
        """Rate of ``step`` at share ``where`` of training (total steps = step / where)."""
        lr = self.base_lr
        if step > self.warmup_steps:
            lr /= math.sqrt((step + self.timescale - self.warmup_steps) / self.timescale)
        if self.warmup_steps:
            lr *= min(1.0, step / self.warmup_steps)
        if self.cooldown_steps:
            total = step / where if where > 0 else 1.0
            lr *= min(1.0, (total - step) / self.cooldown_steps)
        return lr


class ValueScaler:
    """A scheduler whose values are ``mult_val`` times those of another."""

    def __init__(self, scheduler: Callable[..., float], mult_val: float) -> None:
        self.scheduler = scheduler
        self.mult_val = mult_val

    def __call__(self, step: int, where: float) -> float:
        """Scaled value of ``step`` at share ``where`` of training."""
        return call_scheduler(self.scheduler, step, where) * self.mult_val

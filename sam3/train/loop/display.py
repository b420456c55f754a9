"""What a running epoch shows: a bar on a terminal, and a line every so many steps."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import ExitStack

import torch

from ..loss.base import CORE_LOSS_KEY
from ..utils.logger import PACKAGE
from ..utils.meters import AverageMeter, DurationMeter, MemMeter, ProgressMeter


class EpochDisplay:
    """Context manager around the steps of an epoch; silent unless ``shown``.

    Args:
        name: what bar and lines begin with.
        total, first: steps of the epoch, and those that are done.
        log_freq: steps per line.
    """

    def __init__(
        self,
        name: str,
        total: int,
        first: int,
        log_freq: int,
        device: torch.device,
        *,
        shown: bool,
    ) -> None:
        self.name = name
        self.total = total
        self.done = first
        self.log_freq = log_freq
        self.shown = shown
        self.batch_time = AverageMeter("seconds", device, ":.3f")
        self.data_time = AverageMeter("waiting for data", device, ":.3f")
        self.memory = MemMeter("GB", device, ":.0f")
        self.run_time = DurationMeter("run", device)
        self.losses: dict[str, AverageMeter] = {}
        self._stack = ExitStack()

    def __enter__(self) -> EpochDisplay:
        from tqdm import tqdm
        from tqdm.contrib.logging import logging_redirect_tqdm

        hidden = None if self.shown else True  # None: hidden where there is no terminal
        self._bar = self._stack.enter_context(
            tqdm(total=self.total, initial=self.done, desc=self.name, leave=False, disable=hidden)
        )
        if not self._bar.disable:
            self._stack.enter_context(logging_redirect_tqdm([logging.getLogger(PACKAGE)]))
        self._last = time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def step(self, losses: Mapping[str, float], data_time: float, elapsed: float) -> None:
        """A step is done: its losses, seconds it waited for data, seconds of the whole run."""
        now = time.perf_counter()
        self.batch_time.update(now - self._last)
        self._last = now
        self.data_time.update(data_time)
        self.run_time.update(elapsed)
        for name, value in losses.items():
            if name.endswith(f"_{CORE_LOSS_KEY}"):
                self.losses.setdefault(name, AverageMeter(name, fmt=":.4f")).update(value)
        self._bar.update()
        self.done += 1
        if self.shown and self.done % self.log_freq == 0:
            self.memory.update()
            meters = self.batch_time, self.data_time, self.memory, self.run_time
            line = ProgressMeter(self.total, [*meters, *self.losses.values()], self.name)
            line.display(self.done)

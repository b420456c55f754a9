"""Meters of a running loop: values, memory, time; and the line that shows them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

_log = logging.getLogger(__name__)


class AverageMeter:
    """The last value and the mean of all.

    Args:
        name: what it is called in a line.
        device: where values come from; ``MemMeter`` asks it.
        fmt: format of the numbers, like ``":.4f"``.
    """

    def __init__(self, name: str, device: torch.device | None = None, fmt: str = ":f") -> None:
        self.name = name
        self.device = device
        self.fmt = fmt
        self.reset()

    def reset(self) -> None:
        """Forget all values."""
        self.val = self.avg = self.sum = 0.0
        self.count = 0

    def update(self, val: float, n: int = 1) -> None:
        """Take ``val`` ``n`` times."""
        self.val = val
        self.sum += val * n
        self.count += n
        self.avg = self.sum / self.count

    def __str__(self) -> str:
        return f"{self.name}: {self._shown(self.val)} ({self._shown(self.avg)})"

    def _shown(self, value: float) -> str:
        return format(value, self.fmt.removeprefix(":"))


class MemMeter(AverageMeter):
    """Peak memory of the GPU since the last look, in GB; 0 where there is none."""

    def update(self, val: float = 0.0, n: int = 1, reset_peak_usage: bool = True) -> None:
        """Look; ``val`` is not used."""
        if self.device is None or self.device.type != "cuda":
            return
        super().update(torch.cuda.max_memory_allocated(self.device) // 1e9, n)
        if reset_peak_usage:
            torch.cuda.reset_peak_memory_stats(self.device)


class DurationMeter:
    """A time that only grows, in seconds."""

    def __init__(self, name: str, device: torch.device | None = None, fmt: str = "") -> None:
        self.name = name
        self.device = device
        self.val = 0.0

    def reset(self) -> None:
        """Back to 0."""
        self.val = 0.0

    def update(self, val: float) -> None:
        """Now it is ``val`` seconds."""
        self.val = val

    def add(self, val: float) -> None:
        """``val`` seconds more."""
        self.val += val

    def __str__(self) -> str:
        return f"{self.name}: {human_readable_time(self.val)}"


class ProgressMeter:
    """The line of an epoch: which step it is, and all meters.

    Args:
        num_batches: steps of the epoch.
        meters: shown in their order.
        prefix: what the line begins with.
    """

    def __init__(
        self, num_batches: int, meters: Sequence[AverageMeter | DurationMeter], prefix: str = ""
    ) -> None:
        self.num_batches = num_batches
        self.meters = list(meters)
        self.prefix = prefix

    def line(self, batch: int) -> str:
        """The line at step ``batch``."""
        width = len(str(self.num_batches))
        place = f"{self.prefix}[{batch:{width}d}/{self.num_batches}]"
        return " | ".join([place, *map(str, self.meters)])

    def display(self, batch: int) -> None:
        """Log the line at step ``batch``."""
        _log.info("%s", self.line(batch))


def human_readable_time(seconds: float) -> str:
    """Days, hours and minutes, like ``01d 02h 03m``."""
    minutes = int(seconds) // 60
    return f"{minutes // 1440:02d}d {minutes // 60 % 24:02d}h {minutes % 60:02d}m"

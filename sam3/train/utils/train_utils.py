"""Front door of what the entry point and the trainer use."""

from __future__ import annotations

from .meters import AverageMeter, DurationMeter, MemMeter, ProgressMeter, human_readable_time
from .resolvers import register_omegaconf_resolvers

__all__ = [
    "AverageMeter",
    "DurationMeter",
    "MemMeter",
    "ProgressMeter",
    "human_readable_time",
    "register_omegaconf_resolvers",
]

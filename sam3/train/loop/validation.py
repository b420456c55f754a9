"""The validation loop: all batches through the model, into losses and meters."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from ...eval.protocols import Meter
from .averages import RunningMeans
from .forward import ForwardPass

logger = logging.getLogger(__name__)

Meters = Mapping[str, Mapping[str, Meter]]


class Validation:
    """Calling it with a model and batches gives metrics.

    Args:
        meters: by key of a batch (or a pattern of keys), then by name.
    """

    def __init__(self, forward: ForwardPass, meters: Meters) -> None:
        self.forward = forward
        self.meters = meters

    @torch.no_grad()
    def __call__(self, model: nn.Module, batches: Iterable[Any]) -> dict[str, float]:
        """Losses ``Losses/val_<key>_<name>`` and metrics ``Meters/val_<key>/<meter>/<metric>``.

        The model is in eval mode meanwhile; its hooks ``on_validation_epoch_start`` and
        ``on_validation_epoch_end`` are called if it has them.
        """
        was_training = model.training
        model.eval()
        means = RunningMeans()
        _call(model, "on_validation_epoch_start")
        try:
            for batch in batches:
                for chunk in batch if isinstance(batch, list) else [batch]:
                    self._take(model, chunk, means)
        finally:
            _call(model, "on_validation_epoch_end")
            model.train(was_training)
        return {**means.means(), **self._metrics()}

    def _take(self, model: nn.Module, chunk: Mapping[str, Any], means: RunningMeans) -> None:
        passed = self.forward(model, chunk)
        means.add(
            {f"Losses/val_{passed.key}_{name}": value for name, value in passed.values.items()}
        )
        for meter in self._meters_of(passed.key).values():
            meter.update(
                find_stages=passed.find_stages,
                find_metadatas=getattr(passed.batch, "find_metadatas", ()),
                model=model,
                batch=passed.batch,
                key=passed.key,
            )

    def _meters_of(self, key: str) -> Mapping[str, Meter]:
        if key in self.meters:
            return self.meters[key]
        for pattern, meters in self.meters.items():
            if fnmatchcase(key, pattern):
                return meters
        return {}

    def _metrics(self) -> dict[str, float]:
        """Ask every meter, on every process, and empty it."""
        found: dict[str, float] = {}
        for key, meters in self.meters.items():
            for name, meter in meters.items():
                metrics = meter.compute_synced()
                meter.reset()
                start = metric_name(key, name)
                found.update({f"{start}/{k}": float(v) for k, v in metrics.items()})
        return found


def metric_name(key: str, meter: str) -> str:
    """What the names of a meter's metrics begin with."""
    return f"Meters/val_{key}/{meter}"


def _call(model: nn.Module, hook: str) -> None:
    if hasattr(model, hook):
        getattr(model, hook)()

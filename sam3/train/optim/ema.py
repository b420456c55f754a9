"""Exponential moving average of weights, used for evaluation and export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ...errors import CheckpointMismatchError, InputError


class WeightEMA:
    """Keeps ``average = decay * average + (1 - decay) * weight`` for every trainable parameter.

    Early on the decay is lower, ``(1 + n) / (10 + n)``, so that the start is forgotten quickly.

    Args:
        model: the model to follow; its parameters must keep their identity.
        decay: in [0, 1); 0 means the average is the last weight.
    """

    def __init__(self, model: nn.Module, decay: float = 0.998) -> None:
        if not 0 <= decay < 1:
            raise InputError(f"decay must be in [0, 1), got {decay}")
        self.decay = decay
        self.updates = 0
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        self._names = [name for name, _ in named]
        self._weights = [parameter for _, parameter in named]
        self._average = [parameter.detach().clone() for parameter in self._weights]

    @torch.no_grad()
    def update(self) -> None:
        """Take the current weights into the average."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self._average, [p.detach() for p in self._weights], 1 - decay)

    @torch.no_grad()
    def restart(self) -> None:
        """Forget the past: the average becomes the current weights."""
        self.updates = 0
        torch._foreach_copy_(self._average, [p.detach() for p in self._weights])

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Put the averaged weights into the model inside a ``with`` block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for weight, average in zip(self._weights, self._average, strict=True):
            weight.data, average.data = average.data, weight.data

    def state_dict(self) -> dict[str, int | dict[str, Tensor]]:
        """``{"updates": n, "average": {parameter name: tensor}}``; tensors are not copied."""
        return {
            "updates": self.updates,
            "average": dict(zip(self._names, self._average, strict=True)),
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, int | dict[str, Tensor]]) -> None:
        """Restore; raises ``CheckpointMismatchError`` unless the parameter names are the same."""
        average = state["average"]
        if not isinstance(average, dict) or set(average) != set(self._names):
            raise CheckpointMismatchError(
                "the averaged weights in the checkpoint are those of another model: "
                "use a new output folder for a new model"
            )
        self.updates = int(state["updates"])  # type: ignore[arg-type]
        for name, own in zip(self._names, self._average, strict=True):
            own.copy_(average[name])

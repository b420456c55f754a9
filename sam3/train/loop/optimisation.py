"""One step of the optimiser: forward and backward of every chunk, then one update."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from ...errors import InputError
from ..optim.ema import WeightEMA
from ..optim.optimizer import Optimizer
from .forward import check_finite, unwrap_ddp_if_wrapped

LossValues = dict[str, float]


class OptimisationStep:
    """Calling it with the chunks of a step trains the model on them.

    Gradients of the chunks are summed; losses divide by what they count, not by the chunks.

    Args:
        model: a ``ModelWithLoss``, perhaps in ``DistributedDataParallel``.
        clip: called with the model before the update, after gradients have their true scale.
        gradient_logger: called with the model, the step and ``where`` before the update.
        chunks: how many batches a step takes.
    """

    def __init__(
        self,
        model: nn.Module,
        optim: Optimizer,
        scaler: torch.amp.GradScaler,
        *,
        chunks: int = 1,
        clip: Callable[..., Any] | None = None,
        gradient_logger: Callable[..., Any] | None = None,
        ema: WeightEMA | None = None,
    ) -> None:
        self.model = model
        self.optim = optim
        self.scaler = scaler
        self.chunks = chunks
        self.clip = clip
        self.gradient_logger = gradient_logger
        self.ema = ema

    def __call__(self, batch: Any, step: int, where: float, place: Callable[[], str]) -> LossValues:
        """Take step ``step``, the share ``where`` of training.

        Args:
            batch: ``{key: batch}``, or a list of as many as there are chunks.
            place: tells, for messages, which step and samples these are.

        Returns:
            ``<key>_<name>`` of every loss; the mean over chunks of one key.

        Raises:
            FloatingPointError: the loss, or the norm that ``clip`` returns, is not finite; weights
                are as before.
        """
        chunks = self._split(batch)
        self.optim.zero_grad(set_to_none=True)
        sums: dict[str, list[float]] = {}
        for number, chunk in enumerate(chunks):
            for name, value in self._accumulate(chunk, number == len(chunks) - 1, place).items():
                sums.setdefault(name, []).append(value)
        if where < 1:
            self.optim.step_schedulers(where, step)
        self._update(step, where, place)
        return {name: sum(values) / len(values) for name, values in sums.items()}

    def _accumulate(
        self, chunk: Mapping[str, Any], last: bool, place: Callable[[], str]
    ) -> LossValues:
        """Add the gradient of a chunk; processes exchange gradients at the last one only."""
        wait = not last and isinstance(self.model, nn.parallel.DistributedDataParallel)
        with self.model.no_sync() if wait else nullcontext():
            passed = self.model(chunk)
            if passed.core is None:
                raise InputError(
                    f"there is no loss for batches with the key {passed.key!r}: give "
                    f"loss.{passed.key} or loss.default"
                )
            check_finite(passed, place)
            self.scaler.scale(passed.core).backward()
        return {f"{passed.key}_{name}": value for name, value in passed.values.items()}

    def _update(self, step: int, where: float, place: Callable[[], str]) -> None:
        model = unwrap_ddp_if_wrapped(self.model).model
        if self.clip is not None:
            self.scaler.unscale_(self.optim.optimizer)
            norm = self.clip(model)
            # With mixed precision the scaler leaves such a step out.
            if norm is not None and not self.scaler.is_enabled() and not math.isfinite(norm):
                raise FloatingPointError(
                    f"the gradient norm is {float(norm)} {place()}; weights and the last "
                    "checkpoint are left as they were: lower the learning rate"
                )
        if self.gradient_logger is not None:
            self.gradient_logger(model, step, where)
        self.scaler.step(self.optim.optimizer)
        self.scaler.update()
        if self.ema is not None:
            self.ema.update()

    def _split(self, batch: Any) -> Sequence[Mapping[str, Any]]:
        if self.chunks == 1 and isinstance(batch, Mapping):
            return [batch]
        if not isinstance(batch, list) or len(batch) != self.chunks:
            got = f"{len(batch)} batches" if isinstance(batch, list) else type(batch).__name__
            raise InputError(
                f"gradient_accumulation_steps is {self.chunks}: a step needs a list of as many "
                f"batches, got {got}; use collate_fn_api_with_chunking(num_chunks={self.chunks})"
            )
        return batch

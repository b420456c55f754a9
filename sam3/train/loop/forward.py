"""One batch through the model and its loss, the same way in training and in validation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import InputError
from ...model.utils.misc import copy_data_to_device
from ..loss.base import CORE_LOSS_KEY
from .conf import OptimAMPConf

ALL = "all"
DEFAULT = "default"


def unwrap_ddp_if_wrapped(model: nn.Module) -> nn.Module:
    """The model inside ``DistributedDataParallel``; any other as it is."""
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model


@dataclass(frozen=True)
class Passed:
    """What a batch became.

    key: names the data set; batch: on the device; find_stages: outputs of the model; core: the
    loss that is differentiated, None without a loss; values: all losses as numbers, ``core_loss``
    among them.
    """

    key: str
    batch: Any
    find_stages: Any
    core: Tensor | None
    values: dict[str, float]


class ForwardPass:
    """Calls the model on a batch and the loss of the batch's key on what comes out.

    Args:
        losses: loss modules by key; "default" is for keys that have none of their own.
        device: where batches are moved.
        amp: mixed precision of model and loss.
    """

    def __init__(self, losses: nn.ModuleDict, device: torch.device, amp: OptimAMPConf) -> None:
        self.losses = losses
        self.device = device
        self.amp = amp

    def __call__(self, model: nn.Module, batch: Mapping[str, Any]) -> Passed:
        """Run ``{key: batch}``; gradients and the mode of the model are up to the caller."""
        if len(batch) != 1:
            raise InputError(f"a batch must have exactly one key, got {sorted(batch)}")
        key, data = next(iter(batch.items()))
        data = copy_data_to_device(data, self.device, non_blocking=True)
        with torch.autocast(self.device.type, dtype=self.amp.dtype, enabled=self.amp.enabled):
            stages = model(data)
            loss = self._loss_of(key)
            if loss is None:
                return Passed(key, data, stages, None, {})
            found = getattr(data, "find_targets", None) or ()
            targets = [model.back_convert(target) for target in found]
            losses: dict[str, Tensor] = loss(stages, targets)
        values = torch.stack([v.detach().float().reshape(()) for v in _together(losses)]).tolist()
        return Passed(
            key, data, stages, losses[CORE_LOSS_KEY], dict(zip(losses, values, strict=True))
        )

    def _loss_of(self, key: str) -> nn.Module | None:
        if key in self.losses:
            return self.losses[key]
        if key == ALL and len(self.losses):
            raise InputError(f"batches with the key {ALL!r} need a loss of that key: loss.{ALL}")
        return self.losses[DEFAULT] if DEFAULT in self.losses else None


class ModelWithLoss(nn.Module):
    """A model and its forward pass in one module, which ``DistributedDataParallel`` can wrap.

    It must see the loss to know which parameters a step uses: it cannot look into the outputs of
    every model.
    """

    def __init__(self, model: nn.Module, forward_pass: ForwardPass) -> None:
        super().__init__()
        self.model = model
        self._pass = forward_pass

    def forward(self, batch: Mapping[str, Any]) -> Passed:
        """Run ``{key: batch}``."""
        return self._pass(self.model, batch)


def _together(losses: Mapping[str, Tensor]) -> list[Tensor]:
    """The losses on one device: that of ``core_loss``."""
    device = losses[CORE_LOSS_KEY].device
    return [value.to(device) for value in losses.values()]


def check_finite(passed: Passed, place: Callable[[], str]) -> None:
    """Raises FloatingPointError that names pictures and losses, if the loss is not finite.

    place: tells where in the run this is, with the samples of the batch.
    """
    value = passed.values.get(CORE_LOSS_KEY, 0.0)
    if math.isfinite(value):
        return
    shown = {name: round(number, 4) for name, number in passed.values.items()}
    raise FloatingPointError(
        f"the loss is {value} {place()}{_ids(passed.batch)}; losses: {shown}. The last checkpoint "
        "is left as it was: look at these pictures, or lower the learning rate"
    )


def _ids(batch: Any) -> str:
    found = []
    for name in ("coco_image_id", "original_image_id"):
        values = {
            int(v)
            for metadata in getattr(batch, "find_metadatas", None) or ()
            for v in getattr(metadata, name).tolist()
        }
        values.discard(-1)  # training data sets do not tell
        if values:
            found.append(f"{name} {sorted(values)}")
    return "".join(f", {text}" for text in found)

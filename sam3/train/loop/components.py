"""Model, losses, optimiser and what belongs to them, built from the configuration."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ...errors import InputError
from ...perflib.distributed import Collective
from ..optim.ema import WeightEMA
from ..optim.optimizer import Optimizer, construct_optimizer
from .building import build, build_losses, build_tree
from .conf import AMP_DTYPES, DistributedConf, OptimConf
from .loading import VAL

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Components:
    """All that has a state or a hand in it.

    model: without the other processes; optim and ema: None outside training; meters: of the
    validation, by key and name.
    """

    model: nn.Module
    losses: nn.ModuleDict
    meters: dict[str, dict[str, Any]]
    optim: Optimizer | None
    scaler: torch.amp.GradScaler
    clip: Any
    gradient_logger: Any
    ema: WeightEMA | None


def build_components(
    *, model: Any, loss: Any, meters: Any, optim: OptimConf, device: torch.device, trains: bool
) -> Components:
    """Build everything on ``device``; an optimiser only where the run trains."""
    built = build(model)
    if not isinstance(built, nn.Module):
        raise InputError(f"model must be a torch module, got {type(built).__name__}")
    built = built.to(device)
    if trains and optim.optimizer is None:
        raise InputError("a run that trains needs optim.optimizer, such as torch.optim.AdamW")
    optimizer = None
    if trains:
        optimizer = construct_optimizer(
            built, optim.optimizer, optim.options, optim.param_group_modifiers
        )
    return Components(
        model=built,
        losses=build_losses(loss).to(device),
        meters=build_tree((meters or {}).get(VAL) or {}),
        optim=optimizer,
        scaler=torch.amp.GradScaler(device.type, enabled=optim.amp.enabled),
        clip=build(optim.gradient_clip),
        gradient_logger=build(optim.gradient_logger),
        ema=WeightEMA(built, optim.ema_decay) if trains and optim.ema_decay is not None else None,
    )


def share_gradients(
    model: nn.Module, conf: DistributedConf, device: torch.device, ranks: Collective
) -> nn.Module:
    """``model`` so that backward passes average gradients over the processes, if there are any."""
    if ranks.world_size == 1:
        return model
    from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
    from torch.nn.parallel import DistributedDataParallel

    # Fixed tables; gloo cannot send complex numbers.
    fixed = [name for name, buffer in model.named_buffers() if buffer.is_complex()]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, fixed)
    shared = DistributedDataParallel(
        model,
        device_ids=[device.index] if device.type == "cuda" else None,
        find_unused_parameters=conf.find_unused_parameters,
        gradient_as_bucket_view=conf.gradient_as_bucket_view,
        static_graph=conf.static_graph,
    )
    if conf.comms_dtype is not None:
        hooks = dict(
            zip(
                AMP_DTYPES,
                (default_hooks.fp16_compress_hook, default_hooks.bf16_compress_hook),
                strict=True,
            )
        )
        shared.register_comm_hook(None, hooks[conf.comms_dtype])
    return shared


def get_human_readable_count(number: int) -> str:
    """A number in thousands, millions ...: 1234 -> "1.2 K", 42 -> "42"."""
    units = ("", " K", " M", " B", " T")
    value, power = float(number), 0
    while abs(value) >= 1000 and power < len(units) - 1:
        value, power = value / 1000, power + 1
    return f"{value:.1f}{units[power]}" if power else str(number)


def print_model_summary(model: nn.Module) -> None:
    """Log the class of a model and how many parameters it has and trains."""
    total = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    _log.info(
        "%s: %s parameters, %s trained, %s frozen",
        type(model).__name__,
        *map(get_human_readable_count, (total, trained, total - trained)),
    )

"""Switchable activation checkpointing: trade recomputation for memory while training."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint


def activation_ckpt_wrapper(module: Callable[..., Any]) -> Callable[..., Any]:
    """``module`` with keywords ``act_ckpt_enable`` (default True) and ``use_reentrant`` (False).

    Disabled, or where no gradient is recorded, it is a plain call. Results never change.
    """

    @wraps(module.forward if isinstance(module, torch.nn.Module) else module)
    def call(
        *args: Any, act_ckpt_enable: bool = True, use_reentrant: bool = False, **kwargs: Any
    ) -> Any:
        if act_ckpt_enable and torch.is_grad_enabled():
            return checkpoint(module, *args, use_reentrant=use_reentrant, **kwargs)
        return module(*args, **kwargs)

    return call


# What modules call their switch; each acts in training only.
_SWITCHES = ("use_act_checkpoint", "use_act_ckpt", "act_ckpt")


def set_activation_checkpointing(model: torch.nn.Module, enabled: bool) -> None:
    """Switch activation checkpointing of every part of ``model`` that has it on or off."""
    for module in model.modules():
        for switch in _SWITCHES:
            if hasattr(module, switch):
                setattr(module, switch, enabled)

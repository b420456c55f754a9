"""Which parameters learn, and how fast: freezing, part rates, layer decay, weight decay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ...errors import InputError
from ..optim.schedulers import InverseSquareRootParamScheduler, WarmupHoldCosine
from .recipe import PARTS, FinetuneRecipe

_POSITIONS = "pos_embed"  # of the trunk; it learns at the rate of the last layer


def part_of(name: str) -> str:
    """Part of a parameter, "" for one of none."""
    return next((part for part, start in PARTS.items() if name.startswith(start)), "")


def freeze(model: nn.Module, frozen: tuple[str, ...]) -> int:
    """Keep the parameters of some parts as they are; returns how many values still learn.

    Raises:
        InputError: nothing is left to learn.
    """
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and part_of(name) not in frozen)
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if not learning:
        raise InputError(f"with {', '.join(frozen)} frozen nothing learns; freeze fewer parts")
    return learning


def parameter_groups(model: nn.Module, recipe: FinetuneRecipe) -> list[dict[str, Any]]:
    """Groups of learning parameters with ``lr_scale`` and ``weight_decay``, in a fixed order."""
    norms = {
        id(p)
        for module in model.modules()
        if isinstance(module, (nn.LayerNorm, nn.GroupNorm))
        for p in module.parameters(recurse=False)
    }
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decays = not (name.endswith("bias") or id(parameter) in norms)
            key = lr_scale(name, model, recipe), decays
            groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "lr_scale": scale,
            "weight_decay": recipe.weight_decay if decays else 0.0,
        }
        for (scale, decays), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]


def lr_scale(name: str, model: nn.Module, recipe: FinetuneRecipe) -> float:
    """Factor on the recipe's learning rate for a parameter."""
    part = part_of(name)
    scale = recipe.part_rates.get(part, 1.0)
    if part != "trunk" or recipe.layer_decay == 1 or _POSITIONS in name:
        return scale
    trunk: Any = model.get_submodule(PARTS["trunk"].rstrip("."))
    below = trunk.get_num_layers() + 1 - trunk.get_layer_id(name[len(PARTS["trunk"]) :])
    return scale * recipe.layer_decay**below


def make_optimizer(model: nn.Module, recipe: FinetuneRecipe) -> torch.optim.Optimizer:
    """AdamW over :func:`parameter_groups`."""
    return torch.optim.AdamW(
        parameter_groups(model, recipe), lr=recipe.lr, betas=recipe.betas, foreach=True
    )


def make_schedule(recipe: FinetuneRecipe) -> Any:
    """Learning rate by (step, share of training), see ``FinetuneRecipe.schedule``.

    Raises InputError for an unknown schedule.
    """
    makers: Mapping[str, Any] = {
        "inverse-sqrt": lambda: InverseSquareRootParamScheduler(
            recipe.lr, recipe.warmup, recipe.cooldown, recipe.timescale
        ),
        "hold-cosine": lambda: WarmupHoldCosine(
            base_lr=recipe.lr, warmup_steps=recipe.warmup, hold=recipe.hold, final=0.02
        ),
    }
    if recipe.schedule not in makers:
        raise InputError(f"unknown schedule {recipe.schedule!r}; there are {', '.join(makers)}")
    return makers[recipe.schedule]()

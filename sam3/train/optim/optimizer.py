"""Optimisers from a configuration: parameter groups, and schedulers that set their options."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ...errors import InputError, MissingDependencyError
from .clipping import GradientClipper
from .layer_decay import layer_decay_param_modifier
from .options import OptionEntry, Scheduler, call_scheduler, make_groups, read_option
from .schedulers import ValueScaler

__all__ = [
    "GradientClipper",
    "Optimizer",
    "ValueScaler",
    "construct_optimizer",
    "layer_decay_param_modifier",
]

Modifier = Callable[..., Sequence[Sequence[OptionEntry]]]


class Optimizer:
    """A torch optimiser whose groups follow schedulers.

    Args:
        optimizer: the optimiser; its state is saved and restored through this attribute.
        schedulers: for each parameter group, the scheduler of every option that has one. The
            options get their first values here.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        schedulers: Sequence[Mapping[str, Scheduler]] | None = None,
    ) -> None:
        groups = len(optimizer.param_groups)
        if schedulers is not None and len(schedulers) != groups:
            raise InputError(f"{groups} parameter groups need as many schedulers, or none")
        self.optimizer = optimizer
        self.schedulers = [dict(one) for one in schedulers or ()]
        for group, options in zip(optimizer.param_groups, self.schedulers, strict=False):
            unknown = sorted(options.keys() - group.keys())
            if unknown:
                raise InputError(
                    f"{type(optimizer).__name__} has no options {unknown}; it has "
                    f"{sorted(group.keys() - {'params'})}"
                )
        self.step_schedulers(where=0.0, step=0)

    def step_schedulers(self, where: float, step: int) -> None:
        """Set every option to its value at ``step``, the share ``where`` of training."""
        for group, options in zip(self.optimizer.param_groups, self.schedulers, strict=False):
            for option, scheduler in options.items():
                group[option] = call_scheduler(scheduler, step, where)

    def step(self, where: float, step: int, closure: Callable[[], float] | None = None) -> Any:
        """Set the options, then take a step of the optimiser."""
        self.step_schedulers(where, step)
        return self.optimizer.step(closure)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop all gradients."""
        self.optimizer.zero_grad(set_to_none=set_to_none)


def construct_optimizer(
    model: nn.Module,
    optimizer_conf: Any,
    options_conf: Mapping[str, Iterable[Mapping[str, Any]]] | None = None,
    param_group_modifiers_conf: Iterable[Any] | None = None,
) -> Optimizer:
    """Build the optimiser of a model.

    Each of the configurations is an object that is called, or a Hydra node with ``_target_``.

    Args:
        optimizer_conf: called with the list of parameter groups.
        options_conf: for each option of the groups, its entries (see ``options.read_option``).
            None: one group, nothing scheduled.
        param_group_modifiers_conf: called in turn with ``scheduler_cfgs`` (the entries of every
            option) and ``model``; each returns the entries to go on with.

    Raises:
        InputError: entries that match nothing, overlap, or leave parameters out.
    """
    if not options_conf:
        return Optimizer(_build(optimizer_conf, list(model.parameters())))
    entries: Sequence[Sequence[OptionEntry]] = [
        read_option(model, option, conf, _build) for option, conf in options_conf.items()
    ]
    for conf in param_group_modifiers_conf or ():
        entries = _build(conf)(scheduler_cfgs=entries, model=model)
    groups, schedulers = make_groups(model, entries)
    return Optimizer(_build(optimizer_conf, groups), schedulers)


def _build(conf: Any, *arguments: Any) -> Any:
    """What a Hydra node makes; an object that can be called is used as it is."""
    if callable(conf):
        return conf(*arguments) if arguments else conf
    try:
        from hydra.utils import instantiate
    except ImportError as error:
        raise MissingDependencyError(
            "an optimiser from a configuration needs Hydra: pip install hydra-core"
        ) from error
    return instantiate(conf, *arguments)

"""Which scheduler rules which option of which parameters, and the groups that follow from it.

An *option* is a key of an optimiser's parameter groups, such as ``lr``. Each of its entries has a
scheduler and takes the parameters it names by pattern or by the class of their module; an entry
that names none takes the rest. Where entries of several options meet there is a group.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import filter as fnmatch_filter
from typing import Any

from torch import nn

from ...errors import InputError

Scheduler = Callable[..., float]
"""Called with ``step=`` and ``where=`` if it has an argument ``step``, else with ``where``."""


@dataclass(frozen=True)
class OptionEntry:
    """A scheduler of one option and the names of the parameters it rules."""

    option: str
    scheduler: Scheduler
    names: frozenset[str]


def call_scheduler(scheduler: Scheduler, step: int, where: float) -> float:
    """Value at ``step``, the share ``where`` in [0, 1] of training."""
    if "step" in inspect.signature(scheduler).parameters:
        return scheduler(step=step, where=where)
    return scheduler(where)


def read_option(
    model: nn.Module,
    option: str,
    entries: Iterable[Mapping[str, Any]],
    build: Callable[[Any], Scheduler],
) -> list[OptionEntry]:
    """The entries of one option with their parameters resolved.

    Args:
        entries: mappings with ``scheduler`` and optionally ``param_names`` (patterns as of
            fnmatch) and ``module_cls_names`` (class paths; parameters the module itself owns).
        build: makes a scheduler of what stands under ``scheduler``.

    Raises:
        InputError: a pattern or class without any parameter, or two entries for the rest.
    """
    every = frozenset(name for name, _ in model.named_parameters())
    chosen: list[tuple[Scheduler, frozenset[str] | None]] = []
    for entry in entries:
        patterns, classes = entry.get("param_names"), entry.get("module_cls_names")
        names = None
        if patterns is not None or classes is not None:
            names = _by_pattern(every, patterns or (), option)
            names |= _by_class(model, every, classes or (), option)
        chosen.append((build(entry["scheduler"]), names))
    if sum(names is None for _, names in chosen) > 1:
        raise InputError(
            f"option {option!r} has several entries without param_names and module_cls_names: "
            "only one can take the parameters that are left"
        )
    named = frozenset().union(*(names for _, names in chosen if names is not None))
    return [
        OptionEntry(option, s, every - named if names is None else names) for s, names in chosen
    ]


def _by_pattern(every: frozenset[str], patterns: Iterable[str], option: str) -> frozenset[str]:
    found: set[str] = set()
    for pattern in patterns:
        matches = fnmatch_filter(every, pattern)
        if not matches:
            raise InputError(
                f"param_names of option {option!r}: {pattern!r} matches no parameter of the model"
            )
        found.update(matches)
    return frozenset(found)


def _by_class(
    model: nn.Module, every: frozenset[str], paths: Iterable[str], option: str
) -> frozenset[str]:
    found: set[str] = set()
    for path in paths:
        wanted = _class_at(path)
        names = {
            f"{prefix}.{name}" if prefix else name
            for prefix, module in model.named_modules()
            if isinstance(module, wanted)
            for name, _ in module.named_parameters(recurse=False)
        }
        if not names & every:
            raise InputError(
                f"module_cls_names of option {option!r}: the model has no parameter in a {path}"
            )
        found |= names & every
    return frozenset(found)


def _class_at(path: str) -> type[nn.Module]:
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"module_cls_names: there is no class {path!r}; write it like torch.nn.LayerNorm"
        ) from error
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise InputError(f"module_cls_names: {path!r} is not a class of modules")
    return found


def make_groups(
    model: nn.Module, options: Sequence[Sequence[OptionEntry]]
) -> tuple[list[dict[str, Any]], list[dict[str, Scheduler]]]:
    """Parameter groups, one for each non-empty meeting of entries, and their schedulers.

    Raises:
        InputError: a parameter in several groups, or in none.
    """
    left = dict(model.named_parameters())
    groups: list[dict[str, Any]] = []
    schedulers: list[dict[str, Scheduler]] = []
    for meeting in itertools.product(*options):
        names = frozenset.intersection(*(entry.names for entry in meeting))
        if not names:
            continue
        twice = sorted(names - left.keys())
        if twice:
            raise InputError(
                f"several entries of one option take the parameters {twice[:5]}: "
                "make their patterns disjoint"
            )
        groups.append({"params": [left[name] for name in left if name in names]})
        schedulers.append({entry.option: entry.scheduler for entry in meeting})
        left = {name: parameter for name, parameter in left.items() if name not in names}
    if left:
        raise InputError(
            f"no entry takes the parameters {sorted(left)[:5]} ({len(left)} in all): "
            "add an entry without param_names"
        )
    return groups, schedulers

"""Layer-wise learning-rate decay: the further a layer is from the output, the slower it learns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from ...errors import InputError
from .options import OptionEntry
from .schedulers import ValueScaler

DECAYED_OPTION = "lr"


def layer_decay_param_modifier(
    scheduler_cfgs: Sequence[Sequence[OptionEntry]],
    model: nn.Module,
    layer_decay_value: float,
    layer_decay_min: float | None = None,
    apply_to: str | None = None,
    overrides: Iterable[Mapping[str, Any]] = (),
) -> list[list[OptionEntry]]:
    """Split the learning-rate entries by layer, with a scaled scheduler for each layer.

    Layer i of n = number of layers + 1 learns at ``layer_decay_value ** (n - i)`` of the rate.

    Args:
        scheduler_cfgs: the entries of every option; those of other options stay as they are.
        layer_decay_min: lowest scale.
        apply_to: name of the sub-module that is decayed (default: the model); it must offer
            ``get_num_layers()`` and ``get_layer_id(parameter name)``.
        overrides: mappings of ``pattern`` (fnmatch of the full name) and ``value``, the scale of
            the parameters it matches; the first match counts.

    Raises:
        InputError: the sub-module is not there or offers no layers.
    """
    part, prefix = _decayed_part(model, apply_to)
    number = part.get_num_layers() + 1
    scales = [layer_decay_value ** (number - layer) for layer in range(number + 1)]
    if layer_decay_min is not None:
        scales = [max(scale, layer_decay_min) for scale in scales]
    fixed = list(overrides)

    def place(name: str) -> tuple[str, int] | None:
        """Key of the group that a parameter falls into; None outside the decayed part."""
        if not name.startswith(prefix):
            return None
        for index, override in enumerate(fixed):
            if fnmatchcase(name, override["pattern"]):
                return "override", index
        return "layer", part.get_layer_id(name[len(prefix) :])

    def scale_of(key: tuple[str, int]) -> float:
        kind, index = key
        return scales[index] if kind == "layer" else float(fixed[index]["value"])

    return [
        [split for entry in entries for split in _split(entry, place, scale_of)]
        for entries in scheduler_cfgs
    ]


def _split(entry: OptionEntry, place: Any, scale_of: Any) -> list[OptionEntry]:
    if entry.option != DECAYED_OPTION:
        return [entry]
    names: dict[tuple[str, int] | None, set[str]] = {}
    for name in sorted(entry.names):
        names.setdefault(place(name), set()).add(name)
    return [
        OptionEntry(
            entry.option,
            entry.scheduler if key is None else ValueScaler(entry.scheduler, scale_of(key)),
            frozenset(group),
        )
        for key, group in names.items()
    ]


def _decayed_part(model: nn.Module, apply_to: str | None) -> tuple[Any, str]:
    try:
        part = model.get_submodule(apply_to or "")
    except AttributeError as error:
        raise InputError(f"layer decay: the model has no sub-module {apply_to!r}") from error
    if not hasattr(part, "get_num_layers") or not hasattr(part, "get_layer_id"):
        raise InputError(
            f"layer decay: {apply_to or 'the model'} ({type(part).__name__}) has no "
            "get_num_layers and get_layer_id; set apply_to to a trunk that has"
        )
    return part, f"{apply_to}." if apply_to else ""

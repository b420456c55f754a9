"""Moving nested data between devices."""

from __future__ import annotations

import copy
from collections.abc import Mapping, MutableMapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import torch

_Data = TypeVar("_Data")


def copy_data_to_device(
    data: _Data, device: torch.device | str, *args: Any, **kwargs: Any
) -> _Data:
    """A copy of nested data with every tensor on ``device``; ``data`` stays unchanged.

    Goes through lists, tuples, named tuples, mappings (``defaultdict`` keeps its factory) and
    dataclasses (all fields, also frozen ones and those that are no constructor arguments). What
    has a method ``to`` is moved by ``to(device, *args, **kwargs)``, for instance with
    ``non_blocking=True``; anything else is taken over as it is.
    """

    def moved(value: Any) -> Any:
        return copy_data_to_device(value, device, *args, **kwargs)

    value: Any = data
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(moved(v) for v in value))
    if isinstance(value, (list, tuple)):
        return type(value)(moved(v) for v in value)
    if isinstance(value, MutableMapping):
        result = copy.copy(value)
        result.update({k: moved(v) for k, v in value.items()})
        return result
    if isinstance(value, Mapping):
        return type(value)({k: moved(v) for k, v in value.items()})  # type: ignore[call-arg]
    if is_dataclass(value) and not isinstance(value, type):
        result = copy.copy(value)
        for field in fields(value):
            if hasattr(value, field.name):
                object.__setattr__(result, field.name, moved(getattr(value, field.name)))
        return result
    if hasattr(value, "to") and not isinstance(value, type):
        return value.to(device, *args, **kwargs)
    return data

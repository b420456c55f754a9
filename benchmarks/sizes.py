"""How many bytes a record holds, with everything that can be reached from it."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn


def deep_bytes(value: Any, *outside: Any) -> int:
    """Bytes of ``value`` and all it refers to, each object once.

    Tensors count with their whole storage, arrays with their data. Modules, classes, functions and
    what is ``outside`` are left out.
    """
    seen = {id(x) for x in outside}
    storages: set[int] = set()
    total, waiting = 0, [value]
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, (nn.Module, type)) or callable(item):
            continue
        seen.add(id(item))
        total += sys.getsizeof(item)
        if isinstance(item, Tensor):
            storage = item.untyped_storage()
            if storage.data_ptr() not in storages:
                storages.add(storage.data_ptr())
                total += storage.nbytes()
            continue
        waiting += _parts(item)
    return total


def _parts(item: Any) -> list[Any]:
    """What an object refers to."""
    if isinstance(item, dict):
        return [*item.keys(), *item.values()]
    if isinstance(item, (list, tuple, set, frozenset)):
        return list(item)
    if isinstance(item, (str, bytes, int, float, np.ndarray)) or item is None:
        return []
    parts = [vars(item)] if hasattr(item, "__dict__") else []
    if dataclasses.is_dataclass(item):
        parts += [getattr(item, f.name) for f in dataclasses.fields(item)]
    elif isinstance(item, Mapping) and not parts:
        parts += list(item.values())
    return parts

"""Functions that configurations may call, as in ``${times:8e-4,${scratch.lr_scale}}``."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import reduce
from operator import add, mul, sub, truediv
from typing import Any

from ...errors import InputError, MissingDependencyError

# Two or more names joined by dots: a module and what stands in it.
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)


def register_omegaconf_resolvers() -> None:
    """Make the functions known to OmegaConf; calling it again changes nothing.

    ===============  ===============================================================
    add, times       sum and product of any number of values
    subtract, divide of two values; ``divide`` gives a float
    pow              the first value to the power of the second
    range            list of whole numbers, as Python's range
    int, ceil_int    whole number: cut off, or rounded up
    string           text of a value, for numbers used as part of a key
    merge            mappings (or lists) merged, the last one wins
    get_method       a function, and ``get_class`` a class, by its full name
    ===============  ===============================================================

    Raises MissingDependencyError without Hydra.
    """
    try:
        from omegaconf import OmegaConf
    except ImportError as error:
        raise MissingDependencyError("configurations need Hydra: pip install hydra-core") from error
    resolvers: dict[str, Callable[..., Any]] = {
        "add": lambda *values: reduce(add, values),
        "times": lambda *values: reduce(mul, values),
        "divide": truediv,
        "subtract": sub,
        "pow": lambda base, exponent: base**exponent,
        "range": lambda *bounds: list(range(*bounds)),
        "int": int,
        "ceil_int": math.ceil,
        "string": str,
        "merge": lambda *parts: OmegaConf.merge(*parts),
        "get_method": _get_method,
        "get_class": _get_class,
    }
    for name, function in resolvers.items():
        OmegaConf.register_new_resolver(name, function, replace=True)


def _get_method(path: str) -> Callable[..., Any]:
    from hydra.utils import get_method

    return get_method(_checked(path, "get_method"))


def _get_class(path: str) -> type:
    from hydra.utils import get_class

    return get_class(_checked(path, "get_class"))


def _checked(path: str, resolver: str) -> str:
    if not isinstance(path, str) or not _DOTTED.fullmatch(path):
        raise InputError(
            f"{resolver} takes the full name of something that can be imported, like "
            f"torch.nn.LayerNorm, got {path!r}"
        )
    return path

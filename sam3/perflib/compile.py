"""Helpers around ``torch.compile``."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

_log = logging.getLogger(__name__)


def map_tensors(fn: Callable[[Tensor], Any], value: Any) -> Any:
    """Apply ``fn`` to every tensor in nested lists, tuples, named tuples and dicts."""
    if isinstance(value, Tensor):
        return fn(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_tensors(fn, v) for v in value))
    if isinstance(value, (list, tuple)):
        return type(value)(map_tensors(fn, v) for v in value)
    if isinstance(value, dict):
        return {k: map_tensors(fn, v) for k, v in value.items()}
    return value


def compile_wrapper(
    fn: Callable[..., Any],
    mode: str = "max-autotune",
    fullgraph: bool = True,
    dynamic: bool | None = False,
    name: str | None = None,
    *,
    backend: str = "inductor",
) -> Callable[..., Any]:
    """Compile ``fn`` lazily, at its first call.

    Tensor arguments are made contiguous, so that strides do not cause a recompilation; results
    are cloned, because CUDA graphs (``mode`` "max-autotune", "reduce-overhead") reuse their
    memory at the next call. ``name`` is what a profiler shows (default: the function's name).
    The other arguments are those of ``torch.compile``.
    """
    compiled = torch.compile(fn, mode=mode, fullgraph=fullgraph, dynamic=dynamic, backend=backend)
    label = name or getattr(fn, "__qualname__", type(fn).__name__)

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with torch.profiler.record_function(f"compiled {label}"):
            args, kwargs = map_tensors(Tensor.contiguous, (args, kwargs))
            return map_tensors(Tensor.clone, compiled(*args, **kwargs))

    return wrapper


def shape_logging_wrapper(
    fn: Callable[..., Any], keep_kwargs: Iterable[str] = (), enable_logging: bool = False
) -> Callable[..., Any]:
    """Log (level INFO) each combination of input shapes that ``fn`` has not seen before.

    ``keep_kwargs``: keyword arguments whose value counts too, not only the shapes in it.
    The wrapper's ``set_logging(bool)`` switches it, ``enable_logging`` is the start value. Use it
    to see what makes a compiled function recompile.
    """
    keep = frozenset(keep_kwargs)
    seen: set[str] = set()
    enabled = enable_logging
    label = getattr(fn, "__qualname__", type(fn).__name__)

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if enabled:
            shapes = repr((_shapes(args), {k: _shapes(v, k in keep) for k, v in kwargs.items()}))
            if shapes not in seen:
                seen.add(shapes)
                _log.info("%s: new input shapes %s", label, shapes)
        return fn(*args, **kwargs)

    def set_logging(enable: bool = True) -> None:
        nonlocal enabled
        enabled = enable

    wrapper.set_logging = set_logging  # type: ignore[attr-defined]
    return wrapper


def _shapes(value: Any, keep_value: bool = False) -> Any:
    """Replace tensors by their shapes and, unless kept, other leaves by their type names."""
    if isinstance(value, Tensor):
        return tuple(value.shape)
    if isinstance(value, (list, tuple)):
        return [_shapes(v, keep_value) for v in value]
    if isinstance(value, dict):
        return {k: _shapes(v, keep_value) for k, v in value.items()}
    return value if keep_value else type(value).__name__

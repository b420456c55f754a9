"""Objects from a configuration: Hydra nodes are instantiated, ready objects pass through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

from ...errors import InputError, MissingDependencyError, Sam3Error

TARGET = "_target_"


def build(conf: Any) -> Any:
    """What the mapping ``conf`` describes (it has ``_target_``); any other object as it is.

    Raises MissingDependencyError without Hydra.
    """
    if not (_is_mapping(conf) and TARGET in conf):
        return conf
    try:
        from hydra.utils import instantiate
    except ImportError as error:
        raise MissingDependencyError(
            'a training from a configuration needs Hydra: pip install "sam3-segment[train]" '
            "(or pip install hydra-core)"
        ) from error
    with own_errors():
        return instantiate(conf, _convert_="all")


@contextmanager
def own_errors() -> Iterator[None]:
    """Raises this package's errors as they are, where Hydra would wrap them in its own."""
    from hydra.errors import InstantiationException

    try:
        yield
    except InstantiationException as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, Sam3Error):
            cause = cause.__cause__
        if cause is None:
            raise
        raise cause from error


def build_tree(conf: Any) -> Any:
    """``conf`` with everything that has a ``_target_`` below it built; other mappings as dicts."""
    if _is_mapping(conf) and TARGET not in conf:
        return {str(name): build_tree(value) for name, value in conf.items()}
    return build(conf)


def build_losses(conf: Any) -> nn.ModuleDict:
    """The losses by batch key. Raises InputError for one that is no module."""
    losses = {name: build(value) for name, value in (conf or {}).items()}
    for name, value in losses.items():
        if not isinstance(value, nn.Module):
            raise InputError(f"loss {name!r} must be a torch module, got {type(value).__name__}")
    return nn.ModuleDict(losses)


def _is_mapping(conf: Any) -> bool:
    return isinstance(conf, Mapping) or type(conf).__name__ == "DictConfig"

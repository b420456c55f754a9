"""Paths that a configuration leaves to the user, written as ``<what belongs here>``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...errors import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig

_PLACEHOLDER = re.compile(r"<[^<>]+>")
# What a run reads; placeholders elsewhere do not matter until one of these refers to them.
_SECTIONS = ("trainer", "launcher")


def check_placeholders(config: DictConfig) -> None:
    """See to it that every path that the run reads is set.

    Raises InputError that names the keys to set, with what belongs there.
    """
    missing = unset_placeholders(config)
    if missing:
        listed = "; ".join(f"{key}: {wanted}" for key, wanted in missing.items())
        raise InputError(
            f"these values of the configuration are still to be set: {listed}. Give them on the "
            "command line (key=value), or in a file of your own whose defaults name this one"
        )


def unset_placeholders(config: DictConfig) -> dict[str, str]:
    """Keys that hold a placeholder that the run reads, with what belongs there."""
    from omegaconf import OmegaConf

    used: set[str] = set()
    for section in _SECTIONS:
        node = OmegaConf.select(config, section)
        if node is not None:
            resolved = OmegaConf.to_container(node, resolve=True)
            used |= {text for _, value in _strings(resolved, section) for text in _found(value)}
    written = OmegaConf.to_container(config, resolve=False)
    return {key: text for key, value in _strings(written) for text in _found(value) if text in used}


def _found(value: str) -> list[str]:
    return _PLACEHOLDER.findall(value)


def _strings(node: object, path: str = "") -> Iterator[tuple[str, str]]:
    """(key, value) of all texts below a node, keys joined by dots."""
    if isinstance(node, str):
        yield path, node
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from _strings(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _strings(value, f"{path}[{index}]")

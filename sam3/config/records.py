"""Helpers of the configuration records: contradictions, plain dicts, strict keys."""

from __future__ import annotations

from dataclasses import fields
from typing import Any


def require(ok: bool, message: str) -> None:
    """ValueError with ``message`` unless ``ok``."""
    if not ok:
        raise ValueError(message)


def checked(record: type, values: dict[str, Any], where: str) -> dict[str, Any]:
    """Keyword arguments of a dataclass from a plain mapping (lists become tuples).

    ``where`` names the mapping in messages. ValueError for another type or an unknown key.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{where} must be a mapping, got {type(values).__name__}")
    names = {f.name for f in fields(record)}
    unknown = sorted(set(values) - names)
    if unknown:
        raise ValueError(f"{where}: unknown keys {unknown}; allowed are {sorted(names)}")
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def plain(value: Any) -> Any:
    """Nested dicts and lists only (tuples become lists), ready for JSON."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    return value

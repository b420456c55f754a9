"""Base of the session records: dataclass fields that can be read and written as items too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from typing import Any, ClassVar


@cache
def _field_names(record: type) -> tuple[str, ...]:
    return tuple(f.name for f in fields(record))


class ItemAccess:
    """``record["name"]`` is ``record.name``, for the fields of a dataclass that derives from this.

    Fields listed in ``OPTIONAL`` count as present only while they are not None: ``in`` says False
    and reading the item raises KeyError, as with a dict that lacks the key. Other names cannot be
    added.
    """

    __slots__ = ()
    OPTIONAL: ClassVar[frozenset[str]] = frozenset()

    def __contains__(self, key: object) -> bool:
        if key not in _field_names(type(self)):
            return False
        return key not in self.OPTIONAL or getattr(self, str(key)) is not None

    def __getitem__(self, key: str) -> Any:
        if key not in self:
            raise KeyError(key)
        return getattr(self, key)

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in _field_names(type(self)):
            raise KeyError(f"{type(self).__name__} has no field {key!r}")
        setattr(self, key, value)

    def __iter__(self) -> Iterator[str]:
        return (name for name in _field_names(type(self)) if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def keys(self) -> list[str]:
        """Names of the fields that are present."""
        return list(self)

    def items(self) -> list[tuple[str, Any]]:
        """(name, value) of the fields that are present."""
        return [(name, getattr(self, name)) for name in self]

    def get(self, key: str, default: Any = None) -> Any:
        """The field's value, or ``default`` where it is absent."""
        return getattr(self, key) if key in self else default

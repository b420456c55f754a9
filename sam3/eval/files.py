"""JSON files: read with advice, written whole."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import InputError


def read_json(path: str | Path) -> Any:
    """Content of a JSON file; raises InputError for one that is missing or broken."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}: check the path in the configuration") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not JSON ({error}): write or download it again") from error


def write_json(path: str | Path, value: Any) -> None:
    """Write a value, whole or not at all; folders are made."""
    _write(Path(path), iter([json.dumps(value)]))


def write_json_rows(path: str | Path, rows: Iterable[Any]) -> None:
    """Write a list, one row a line, without holding its text in memory; whole or not at all."""
    _write(Path(path), _lines(rows))


def _lines(rows: Iterable[Any]) -> Iterable[str]:
    before = "["
    for row in rows:
        yield before + json.dumps(row)
        before = ",\n"
    yield "[]" if before == "[" else "]"


def _write(path: Path, parts: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.writelines(parts)
            file.write("\n")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)

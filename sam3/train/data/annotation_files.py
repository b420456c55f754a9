"""Annotation files in JSON: read once, their sections checked."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import DataError

Source = str | os.PathLike[str] | Mapping[str, Any]


def read_annotations(source: Source, sections: Sequence[str]) -> dict[str, Any]:
    """What an annotation file holds.

    Args:
        source: path of a JSON file, or what such a file holds.
        sections: keys that must be there, each with a list.

    Raises:
        DataError: no such file, not JSON, or a section is missing.
    """
    if isinstance(source, Mapping):
        data, name = dict(source), "the annotations"
    else:
        path = Path(source)
        name = str(path)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise DataError(
                f"{name} cannot be read: {error}; check the path of the annotation file"
            ) from error
        except ValueError as error:
            raise DataError(
                f"{name} is not a JSON file: {error}; export the annotations again"
            ) from error
    missing = [
        s for s in sections if not isinstance(data, dict) or not isinstance(data.get(s), list)
    ]
    if missing:
        raise DataError(
            f"{name} has no list called {' or '.join(missing)}; needed are {', '.join(sections)}"
        )
    return data

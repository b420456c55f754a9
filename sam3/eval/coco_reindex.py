"""COCO files whose ids begin at 0: a copy whose ids begin at 1.

COCO's matching takes the id 0 of an annotation for "no match", so such files lose a hit in silence.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from .files import read_json, write_json

_LISTS = ("images", "annotations", "categories")


def reindex_coco_to_temp(input_json_path: str | Path) -> str:
    """Path of a COCO file all of whose ids are 1 or more.

    Each of images, annotations and categories that has an id below 1 is moved up as a whole, so
    that order and gaps stay; references follow. The copy lies in a temporary folder until the
    process ends. A file that needs nothing is left alone and its own path is returned.

    Raises:
        InputError: the file is missing or broken.
    """
    path = Path(input_json_path)
    stamp = path.stat().st_mtime_ns if path.exists() else 0
    return _reindexed(str(path), stamp)


@cache
def _reindexed(path: str, modified: int) -> str:
    """The answer for one version of a file: both data set and evaluator ask for it."""
    data = read_json(path)
    shifts = {name: _shift(data.get(name, ())) for name in _LISTS}
    if not any(shifts.values()):
        return path
    for name in _LISTS:
        for item in data.get(name, ()):
            item["id"] += shifts[name]
    for annotation in data.get("annotations", ()):
        annotation["image_id"] += shifts["images"]
        if "category_id" in annotation:
            annotation["category_id"] += shifts["categories"]
    folder = Path(tempfile.mkdtemp(prefix="sam3_coco_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    copy = folder / Path(path).name
    write_json(copy, data)
    return str(copy)


def _shift(items: Any) -> int:
    lowest = min((item["id"] for item in items), default=1)
    return max(0, 1 - lowest)

"""Finding the annotation files and pictures that a user points to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import DataError
from ..data.annotation_files import read_annotations
from ..data.pictures import picture_file

ROBOFLOW = "_annotations.coco.json"
TRAIN_FOLDERS, VALID_FOLDERS = ("train",), ("valid", "val", "test")
SECTIONS = ("images", "annotations", "categories")
_LAYOUTS = (
    f"a Roboflow export in COCO format (train/{ROBOFLOW} and perhaps valid/{ROBOFLOW}), a folder "
    "with pictures and one annotation file, or the annotation file itself"
)


@dataclass(frozen=True)
class Split:
    """An annotation file, what it holds, and the folder of its pictures."""

    file: Path
    content: dict[str, Any]
    folder: Path


def find_splits(
    data: Path, images: Path | None = None, validation: Path | None = None
) -> tuple[Split, Split | None]:
    """The training split and the validation split, None if there is none.

    Args:
        data: a folder or an annotation file, see ``DataSettings``.
        images: folder of the pictures of both files.
        validation: annotation file of the validation split.

    Raises:
        DataError: nothing there, several files to choose from, or pictures nowhere to be found.
    """
    if not data.exists():
        raise DataError(f"there is no file or folder {data}; --data takes {_LAYOUTS}")
    train, valid = (data, None) if data.is_file() else _files_of(data)
    valid = validation or valid
    return open_split(train, images), None if valid is None else open_split(valid, images)


def _files_of(folder: Path) -> tuple[Path, Path | None]:
    """Annotation files of the training and the validation split of a folder."""
    train = _first(folder / name / ROBOFLOW for name in TRAIN_FOLDERS)
    if train is not None:
        return train, _first(folder / name / ROBOFLOW for name in VALID_FOLDERS)
    files = sorted({*folder.glob("*.json"), *folder.glob("annotations/*.json")})
    if len(files) == 1:
        return files[0], None
    trains = [f for f in files if "train" in f.stem.lower()]
    valids = [f for f in files if "val" in f.stem.lower()]
    if len(trains) == 1 and len(valids) <= 1:
        return trains[0], valids[0] if valids else None
    found = ", ".join(f.relative_to(folder).as_posix() for f in files[:5]) or "no .json file"
    raise DataError(
        f"{folder} has {found}: name one annotation file with --data, or give {_LAYOUTS}"
    )


def _first(paths: Iterable[Path]) -> Path | None:
    return next((path for path in paths if path.is_file()), None)


def open_split(file: Path, images: Path | None = None) -> Split:
    """Read an annotation file and find the folder of its pictures.

    Raises:
        DataError: not a COCO file, or the first picture is in none of the usual places.
    """
    content = read_annotations(file, SECTIONS)
    return Split(file, content, images or _picture_folder(file, content["images"]))


def _picture_folder(file: Path, rows: list[Any]) -> Path:
    """The folder among the usual ones that holds most of the first pictures named."""
    stem = file.stem.replace("instances_", "")
    home = file.parent
    places = [base / part for base in (home, home.parent) for part in ("", "images", stem)]
    names = [row["file_name"] for row in rows[:20] if isinstance(row, dict) and "file_name" in row]
    found = {place: sum(picture_file(place, n).is_file() for n in names) for place in places}
    best = max(places, key=lambda place: found[place])
    if names and not found[best]:
        shown = ", ".join(str(place) for place in places[:4])
        raise DataError(
            f"{file}: its pictures ({names[0]} ...) are in none of {shown}; name their folder with "
            "--images"
        )
    return best

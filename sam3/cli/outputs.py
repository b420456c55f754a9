"""Files written for one picture: cut-out, mask, overlay and a JSON record, each in one piece.

A file appears under its name only when it is whole. The JSON record comes last, so a record that
is there means that the picture is done; ``is_complete`` relies on that.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..errors import InputError
from .sources import identity

if TYPE_CHECKING:
    from PIL import Image

    from .instances import Instance

FORMAT_VERSION = 1
IMAGE_KINDS = ("cutout", "mask", "overlay")
RECORD = "json"


def output_paths(folder: Path, stem: Path) -> dict[str, Path]:
    """Paths by kind: ``STEM_cutout.png``, ``STEM_mask.png``, ``STEM_overlay.png``, ``STEM.json``.

    The stem may have folders and dots in it.
    """
    base = folder / stem
    paths = {kind: base.with_name(f"{base.name}_{kind}.png") for kind in IMAGE_KINDS}
    return {**paths, RECORD: base.with_name(f"{base.name}.json")}


def check_folder(folder: Path) -> None:
    """InputError for an output folder that is a file."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"The output folder {folder} is a file. Choose another --output.")


def write_atomically(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Write to a temporary file in the same folder, then move it into place.

    Args:
        path: the final name; its folder is made where it is missing.
        write: gets the open binary file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(temporary, "wb") as file:
            write(file)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def save_png(path: Path, image: Image.Image) -> None:
    """Save a picture as PNG, in one piece."""
    write_atomically(path, lambda file: image.save(file, format="PNG"))


def save_record(path: Path, record: Mapping[str, Any]) -> None:
    """Save a JSON record, in one piece."""
    data = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()
    write_atomically(path, lambda file: _write(file, data))


def _write(file: IO[bytes], data: bytes) -> None:
    file.write(data)


def source_stamp(path: Path) -> dict[str, Any]:
    """What identifies the version of a picture: absolute path, bytes, time of last change."""
    stat = path.stat()
    return {"path": str(path.resolve()), "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def make_record(
    source: Path,
    size: tuple[int, int],
    found: Sequence[Instance],
    best: tuple[float, str],
    settings: Mapping[str, Any],
    paths: Mapping[str, Path],
) -> dict[str, Any]:
    """The JSON record of one picture.

    Args:
        source: the picture.
        size: (W, H), upright.
        found: what was found.
        best: highest score of all candidates, found or not, and its phrase.
        settings: what it was made with (``SegmentOptions.fingerprint``).
        paths: the output files.

    Returns:
        A dict that JSON can hold: ``instances`` with phrase, score, box (xyxy in pixels), area in
        pixels and ``segmentation`` (COCO RLE with uncompressed counts).
    """
    width, height = size
    instances = [
        {
            "id": index,
            "phrase": instance.phrase,
            "score": round(instance.score, 6),
            "box": [round(v, 3) for v in instance.box],
            "area": instance.area,
            "segmentation": instance.segmentation,
        }
        for index, instance in enumerate(found)
    ]
    return {
        "format": FORMAT_VERSION,
        "source": source_stamp(source),
        "width": width,
        "height": height,
        "settings": dict(settings),
        "best_score": round(best[0], 6),
        "best_phrase": best[1],
        "instances": instances,
        "files": {kind: path.name for kind, path in paths.items() if kind != RECORD},
        "complete": True,
    }


def is_complete(source: Path, settings: Mapping[str, Any], paths: Mapping[str, Path]) -> bool:
    """Whether a picture was done before: same file, same settings, every output still there."""
    try:
        record = json.loads(paths[RECORD].read_text(encoding="utf-8"))
        return (
            record["complete"] is True
            and record["format"] == FORMAT_VERSION
            and record["source"] == source_stamp(source)
            and record["settings"] == json.loads(json.dumps(settings))
            and all(path.is_file() for path in paths.values())
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def overwriting(paths: Mapping[str, Path], inputs: set[Path]) -> str:
    """Why these outputs must not be written: one would replace an input picture. Else empty.

    Args:
        paths: outputs of one picture.
        inputs: ``sources.identity`` of all inputs.
    """
    for path in paths.values():
        if identity(path) in inputs:
            return f"its output {path} would overwrite an input picture; choose another --output"
    return ""

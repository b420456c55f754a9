"""Faults of single values: boxes, masks, picture files. Each check gives a text, or None."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import PIL.Image

from ....errors import DataError, InputError
from ....perflib.rle import rle_counts
from ..pictures import picture_file, read_picture
from .report import Remedy

# Boxes may end that many pixels outside: exports round.
EDGE_TOLERANCE = 1.0


class Fault(NamedTuple):
    """Kind and description of a fault, and what skipping does about it."""

    kind: str
    detail: str
    remedy: Remedy = "leave out"


def is_number(value: Any) -> bool:
    """Whether it is an int or float (JSON's true and false are none)."""
    return isinstance(value, Real) and not isinstance(value, bool)


def not_finite(values: Iterable[Any]) -> bool:
    """Whether a number is NaN or infinite."""
    return any(is_number(v) and not math.isfinite(v) for v in values)


def box_fault(bbox: Any, height: int, width: int) -> Fault | None:
    """Fault of an xywh box in pixels within a picture."""
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(is_number, bbox)):
        return Fault("bad box", f"bbox must be [left, top, width, height], got {bbox}")
    if not_finite(bbox):
        return Fault("NaN", f"bbox is {bbox}")
    left, top, w, h = bbox
    if w <= 0 or h <= 0:
        return Fault("bad box", f"bbox {bbox} has no area")
    if left >= width or top >= height or left + w <= 0 or top + h <= 0:
        detail = f"bbox {bbox} lies wholly outside the {width} x {height} picture"
        return Fault("box outside", detail)
    over = max(-left, -top, left + w - width, top + h - height)
    if over > EDGE_TOLERANCE:
        detail = f"bbox {bbox} ends {over:g} pixels outside the {width} x {height} picture"
        return Fault("box outside", detail, "cut at the edges")
    return None


def mask_fault(segmentation: Any, height: int, width: int) -> Fault | None:
    """Fault of an RLE or of polygons; none for an absent mask."""
    if not segmentation:
        return None
    if isinstance(segmentation, dict):
        return _rle_fault(segmentation, height, width)
    if not isinstance(segmentation, list):
        return _bad_mask(f"a segmentation cannot be a {type(segmentation).__name__}")
    polygons = segmentation if isinstance(segmentation[0], list) else [segmentation]
    for polygon in polygons:
        if not isinstance(polygon, list) or not all(map(is_number, polygon)):
            return _bad_mask("a polygon must be a list of numbers x0, y0, x1, y1, ...")
        if not_finite(polygon):
            return Fault("NaN", "a polygon has a corner that is not finite", "use without mask")
        if len(polygon) % 2 or len(polygon) < 6:
            return _bad_mask(f"a polygon needs 3 corners or more, got {len(polygon)} numbers")
    return None


def _bad_mask(detail: str) -> Fault:
    return Fault("bad mask", detail, "use without mask")


def _rle_fault(rle: dict[str, Any], height: int, width: int) -> Fault | None:
    try:
        size = [int(v) for v in rle["size"]]
        if size != [height, width]:
            return _bad_mask(f"its RLE is {size} (h, w), its picture [{height}, {width}]")
        rle_counts(rle)
    except (InputError, KeyError, TypeError, ValueError, OverflowError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        return _bad_mask(f"its RLE cannot be read: {reason}")
    return None


def picture_fault(
    folder: Path, name: str, size: tuple[int, int] | None, decode: bool
) -> Fault | None:
    """Fault of a picture file.

    Args:
        folder, name: where it is.
        size: (h, w) that it should have, None = any.
        decode: read all its pixels, which finds files that are cut off, too.
    """
    path = picture_file(folder, name)
    if not path.is_file():
        return Fault("missing image", f"{path} is missing")
    if path != folder / name:  # a frame of a video
        return None
    try:
        with PIL.Image.open(path) as image:
            found = image.height, image.width
        if decode:
            read_picture(folder, name)
    except (DataError, OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        return Fault("unreadable image", f"{path} cannot be decoded: {error}")
    if size is not None and found != size:
        return Fault(
            "wrong size",
            f"{path} has {found[1]} x {found[0]} pixels, the annotations say {size[1]} x {size[0]}",
        )
    return None

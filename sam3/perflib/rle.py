"""COCO run-length encoding of masks with uncompressed counts, in numpy.

Counts alternate between 0-runs and 1-runs, start with the 0-run (which may be 0 long), and go down
the columns: the format that pycocotools reads as a dict of ``size`` and a list of ``counts``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InputError


def encode_rle(mask: np.ndarray) -> dict[str, list[int]]:
    """Encode one mask.

    Args:
        mask: ``[H, W]`` bool, or numbers where anything but 0 is inside.

    Returns:
        ``{"size": [H, W], "counts": [...]}`` with plain ints, ready for JSON.

    Raises:
        InputError: the mask is not two-dimensional.
    """
    array = np.asarray(mask)
    if array.ndim != 2:
        raise InputError(f"A mask to encode must be [H, W], got shape {list(array.shape)}.")
    height, width = array.shape
    flat = (array != 0).ravel(order="F")
    if flat.size == 0:
        return {"size": [height, width], "counts": []}
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    bounds = np.concatenate(([0], changes, [flat.size]))
    counts = np.diff(bounds).tolist()
    if flat[0]:
        counts.insert(0, 0)
    return {"size": [height, width], "counts": counts}


def decode_rle(rle: dict[str, Any]) -> np.ndarray:
    """Mask of an uncompressed RLE.

    Args:
        rle: ``{"size": [H, W], "counts": [...]}``.

    Returns:
        ``[H, W]`` bool.

    Raises:
        InputError: counts that are negative or do not add up to H x W.
    """
    height, width = (int(v) for v in rle["size"])
    counts = np.asarray(rle["counts"], dtype=np.int64)
    if (counts < 0).any() or counts.sum() != height * width:
        raise InputError(
            f"The counts must be 0 or more and add up to {height} x {width} = {height * width}, "
            f"got a sum of {int(counts.sum())}."
        )
    values = np.arange(counts.size) % 2 == 1
    return np.repeat(values, counts).reshape((height, width), order="F")

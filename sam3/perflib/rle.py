"""COCO run-length encoding of masks in numpy: lists of counts, and COCO's strings for reading.

Counts alternate between 0-runs and 1-runs, start with the 0-run (which may be 0 long), and go down
the columns: the format that pycocotools reads as a dict of ``size`` and a list of ``counts``.
A string holds the same counts: from the fourth on each as the difference to the one before the
last, in groups of five bits, lowest first, that are told apart by a sixth.
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
    """Mask of an RLE.

    Args:
        rle: ``{"size": [H, W], "counts": ...}``, counts as a list or as COCO's string.

    Returns:
        ``[H, W]`` bool.

    Raises:
        InputError: counts that are negative, do not add up to H x W, or a broken string.
    """
    height, width = (int(v) for v in rle["size"])
    counts = rle_counts(rle)
    values = np.arange(counts.size) % 2 == 1
    return np.repeat(values, counts).reshape((height, width), order="F")


def rle_counts(rle: dict[str, Any]) -> np.ndarray:
    """Counts of an RLE, checked: int64 [n]. Argument and errors as for :func:`decode_rle`."""
    height, width = (int(v) for v in rle["size"])
    counts = rle["counts"]
    if isinstance(counts, (str, bytes)):
        counts = counts_from_string(counts)
    counts = np.asarray(counts, dtype=np.int64)
    if (counts < 0).any() or counts.sum() != height * width:
        raise InputError(
            f"The counts must be 0 or more and add up to {height} x {width} = {height * width}, "
            f"got a sum of {int(counts.sum())}."
        )
    return counts


def counts_from_string(text: str | bytes) -> np.ndarray:
    """Counts of a COCO string: int64 [n].

    Raises:
        InputError: characters that COCO does not use, or an end inside a number.
    """
    raw = text.encode("utf-8") if isinstance(text, str) else text
    codes = np.frombuffer(raw, dtype=np.uint8).astype(np.int64) - 48
    if codes.size == 0:
        return codes
    if codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise InputError("The string of an RLE mask is damaged: it is cut off or not COCO's.")
    ends = np.flatnonzero((codes & 32) == 0)
    starts = np.concatenate(([0], ends[:-1] + 1))
    sizes = ends - starts + 1
    if sizes.max() > 7:
        raise InputError("The string of an RLE mask is damaged: a count has over 35 bits.")
    digit = np.arange(codes.size) - np.repeat(starts, sizes)
    numbers = np.add.reduceat((codes & 31) << (5 * digit), starts)
    numbers -= ((codes[ends] & 16) != 0) * (1 << (5 * sizes))  # the last group carries the sign
    # Two interleaved chains of differences; the first three numbers are counts themselves.
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers

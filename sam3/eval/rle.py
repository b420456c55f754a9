"""Compressed COCO run lengths of bool masks, ready for JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from .coco_tools import as_rle, coco_mask


def rle_encode(masks: Tensor | np.ndarray | Iterable[Tensor]) -> list[dict[str, Any]]:
    """Encode masks one after the other, so that they need not all be in memory.

    Args:
        masks: bool ``[N, H, W]``, on any device, or an iterable of ``[H, W]``.

    Returns:
        N dicts ``{"size": [H, W], "counts": text}``.

    Raises:
        InputError: a mask that is not two-dimensional or not bool.
    """
    return [_encode(mask) for mask in masks]


def _encode(mask: Any) -> dict[str, Any]:
    array = mask.cpu().numpy() if isinstance(mask, Tensor) else np.asarray(mask)
    if array.ndim != 2 or array.dtype != np.bool_:
        raise InputError(
            f"a mask to encode must be bool [H, W], got {array.dtype} {list(array.shape)}"
        )
    return to_json(coco_mask().encode(np.asfortranarray(array.view(np.uint8))))


def to_json(rle: Mapping[str, Any]) -> dict[str, Any]:
    """A compressed run-length code whose counts are text and whose sizes are plain numbers."""
    counts = rle["counts"]
    text = counts.decode("ascii") if isinstance(counts, bytes) else counts
    return {"size": [int(v) for v in rle["size"]], "counts": text}


def rle_decode(segmentation: Any, size: tuple[int, int] | None = None) -> Tensor:
    """Bool mask [H, W] of any COCO segmentation; polygons need ``size``, (height, width)."""
    return torch.from_numpy(coco_mask().decode(as_rle(segmentation, size)).astype(bool))

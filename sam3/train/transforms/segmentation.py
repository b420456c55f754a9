"""Masks from run lengths."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import DataError
from ...perflib.rle import decode_rle
from ..data.datapoint import Datapoint


class DecodeRle:
    """RLE segments -> uint8 [H, W] masks; objects without a segment stay without.

    An RLE without a pixel is replaced by the filled box, so that thin objects keep a mask. It runs
    before anything that moves pixels, with boxes as corners in pixels.
    """

    def __call__(self, datapoint: Datapoint, **_kwargs: Any) -> Datapoint:
        """Decode in place. Raises DataError for damaged run lengths or those of another size."""
        for image in datapoint.images:
            for item in image.objects:
                if isinstance(item.segment, dict):
                    item.segment = _decode(item.segment, item.bbox, image.size)
        return datapoint


def _decode(rle: dict[str, Any], bbox: Tensor, size: tuple[int, int]) -> Tensor:
    if [int(v) for v in rle["size"]] != list(size):
        raise DataError(
            f"a mask of {rle['size'][0]} x {rle['size'][1]} pixels (h x w) does not fit its "
            f"picture of {size[0]} x {size[1]}; export the annotations for these pictures"
        )
    mask = decode_rle(rle)
    if not mask.any():
        mask = _fill_box(bbox, size)
    return torch.from_numpy(mask.astype(np.uint8))


def _fill_box(bbox: Tensor, size: tuple[int, int]) -> np.ndarray:
    """bool [H, W], True in every pixel that the xyxy box touches."""
    left, top, right, bottom = bbox.flatten().tolist()
    mask = np.zeros(size, dtype=bool)
    mask[math.floor(top) : math.ceil(bottom), math.floor(left) : math.ceil(right)] = True
    return mask

"""Front door of the mask helpers: run lengths, overlaps and boxes of masks.

The implementations live in ``sam3/eval/rle.py`` and ``sam3/perflib/masks_ops.py``.
"""

from __future__ import annotations

from ..eval.rle import rle_decode, rle_encode
from ..perflib.masks_ops import mask_iou, masks_to_boxes

__all__ = ["mask_iou", "masks_to_boxes", "rle_decode", "rle_encode"]

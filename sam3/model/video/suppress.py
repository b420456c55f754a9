"""Two ways to drop what is probably not an own object: at the border, and after an occlusion."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ...perflib.masks_ops import mask_iou

NEVER_OCCLUDED = -1
ALWAYS_OCCLUDED = 100_000
BORDER = 0.025


def away_from_border(boxes: np.ndarray, margin: float = BORDER) -> np.ndarray:
    """bool [D]: boxes [D, 4] (normalised xyxy) whose centre is not within ``margin`` of a side."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    return ((centres > margin) & (centres < 1 - margin)).all(axis=1)


def recently_occluded(
    masks: Tensor, last_occluded: np.ndarray, iou_threshold: float, *, reverse: bool = False
) -> np.ndarray:
    """bool [N]: tracks to hide because they overlap one that was occluded longer ago.

    masks: [N, h, w] logits; last_occluded: [N] frame on which each was last empty or hidden, or
    ``NEVER_OCCLUDED``. Of a pair with IoU >= ``iou_threshold`` the one occluded later in tracking
    direction goes, if the other was ever occluded too.
    """
    n = len(last_occluded)
    if n < 2:
        return np.zeros(n, bool)
    binary = masks > 0
    close = mask_iou(binary, binary).cpu().numpy() >= iou_threshold
    np.fill_diagonal(close, False)
    mine, other = last_occluded[:, None], last_occluded[None, :]
    later = mine < other if reverse else mine > other
    return (close & later & (other > NEVER_OCCLUDED)).any(axis=1)

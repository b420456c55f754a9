"""One-to-one matching of detected and tracked masks by the Hungarian algorithm (SciPy)."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError, MissingDependencyError
from .masks_ops import mask_iou

Association = tuple[list[int], list[int], dict[int, list[int]], dict[int, list[float]]]


def associate_det_trk(
    det_masks: Tensor,
    track_masks: Tensor,
    iou_threshold: float = 0.5,
    iou_threshold_trk: float = 0.5,
    det_scores: Tensor | None = None,
    new_det_thresh: float = 0.0,
) -> Association:
    """Find which detections are new and which tracks no detection confirms.

    Args:
        det_masks, track_masks: [N, H, W] and [M, H, W], bool, or logits with foreground > 0.
        iou_threshold: a detection with this IoU or more to any track is not new.
        iou_threshold_trk: a track is matched if its assigned detection has this IoU or more.
        det_scores: [N]; without scores no detection counts as new.
        new_det_thresh: the least score of a new detection.

    Returns:
        new detections, unmatched tracks (indices, ascending); detection -> tracks with an IoU of
        at least ``iou_threshold`` (only detections that have one); track -> [score, score x IoU]
        of its assigned detection, whatever their IoU (empty without scores). If either side is
        empty: (all detections, [], {}, {}).

    Raises InputError for shapes or devices that do not fit.
    """
    _check(det_masks, track_masks, det_scores)
    if len(det_masks) == 0 or len(track_masks) == 0:
        return list(range(len(det_masks))), [], {}, {}
    ious = mask_iou(_binary(det_masks), _binary(track_masks)).cpu().numpy()
    det_index, trk_index = _assign(ious)
    close = ious >= np.float32(iou_threshold)
    confirmed = trk_index[ious[det_index, trk_index] >= np.float32(iou_threshold_trk)]
    unmatched = np.setdiff1d(np.arange(len(track_masks)), confirmed).tolist()
    det_to_trk: dict[int, list[int]] = defaultdict(list)
    for det, trk in zip(*(axis.tolist() for axis in close.nonzero()), strict=True):
        det_to_trk[det].append(trk)
    if det_scores is None:
        return [], unmatched, dict(det_to_trk), {}
    scores = det_scores.detach().float().cpu().numpy()
    is_new = (scores >= np.float32(new_det_thresh)) & ~close.any(axis=1)
    pair_scores = scores[det_index]
    weighted = pair_scores * ious[det_index, trk_index]
    matched = {
        trk: [score, product]
        for trk, score, product in zip(
            trk_index.tolist(), pair_scores.tolist(), weighted.tolist(), strict=True
        )
    }
    return np.flatnonzero(is_new).tolist(), unmatched, dict(det_to_trk), matched


def _binary(masks: Tensor) -> Tensor:
    return masks if masks.dtype == torch.bool else masks > 0


def _assign(ious: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (detections, tracks) with the largest sum of IoUs; detections ascending."""
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise MissingDependencyError(
            "matching detections with tracks needs SciPy: pip install scipy"
        ) from error
    return linear_sum_assignment(1 - ious)


def _check(det_masks: Tensor, track_masks: Tensor, det_scores: Tensor | None) -> None:
    sizes = (det_masks.shape[1:], track_masks.shape[1:])
    if det_masks.ndim != 3 or track_masks.ndim != 3 or sizes[0] != sizes[1]:
        raise InputError(
            "detections and tracks must be masks [N, H, W] and [M, H, W] of one size, got "
            f"{tuple(det_masks.shape)} and {tuple(track_masks.shape)}; resize one of them first"
        )
    if det_scores is not None and det_scores.shape != det_masks.shape[:1]:
        raise InputError(
            f"{len(det_masks)} detections need as many scores, got {tuple(det_scores.shape)}"
        )

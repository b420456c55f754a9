"""Which detection is which track on one frame: decided from mask IoUs and scores."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from ...config.video import AssociationConfig, ReconditionConfig
from ...perflib.masks_ops import mask_iou


@dataclass
class Association:
    """Detections are named by row, tracks by object id.

    new_dets: rows that start a track; unmatched_ids: tracks with pixels but no detection;
    det_to_ids: row -> every track it overlaps; high_conf: track -> its confident detection;
    empty_ids: tracks without a pixel.
    """

    new_dets: list[int] = field(default_factory=list)
    unmatched_ids: list[int] = field(default_factory=list)
    det_to_ids: dict[int, list[int]] = field(default_factory=dict)
    high_conf: dict[int, int] = field(default_factory=dict)
    empty_ids: list[int] = field(default_factory=list)


def pairwise_iou(det_masks: Tensor, trk_masks: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """IoU of mask logits and which tracks have pixels, on the host.

    det_masks: [D, h, w], trk_masks: [N, h', w'] logits; of two sizes the larger is first resized
    bilinearly to the smaller (of equal areas, the detections to the tracks'). Returns
    float32 [D, N] and bool [N].
    """
    has_pixels = (trk_masks > 0).flatten(1).any(dim=1).cpu().numpy()
    if not len(det_masks) or not len(trk_masks):
        return np.zeros((len(det_masks), len(trk_masks)), np.float32), has_pixels
    det_size, trk_size = det_masks.shape[-2:], trk_masks.shape[-2:]
    if det_size.numel() < trk_size.numel():
        trk_masks = _resize(trk_masks, det_size)
    elif det_size != trk_size:
        det_masks = _resize(det_masks, trk_size)
    return mask_iou(det_masks > 0, trk_masks > 0).cpu().numpy(), has_pixels


def associate(
    ious: np.ndarray,
    det_scores: np.ndarray,
    has_pixels: np.ndarray,
    trk_ids: np.ndarray,
    rules: AssociationConfig,
    confident: ReconditionConfig,
) -> Association:
    """Match D detections and N tracks.

    ious: [D, N]; det_scores: [D] in 0..1; has_pixels: [N] bool; trk_ids: [N]. Without tracks every
    detection is new, whatever its score (``new_det_thresh`` is not applied there).
    """
    ids = [int(i) for i in trk_ids]
    if not ids:
        return Association(new_dets=list(range(len(det_scores))))
    empty_ids = [ids[j] for j in np.flatnonzero(~has_pixels)]
    if not len(det_scores):
        return Association(
            unmatched_ids=[ids[j] for j in np.flatnonzero(has_pixels)], empty_ids=empty_ids
        )
    matched = _matched_tracks(ious, rules)
    overlaps = ious >= rules.assoc_iou_thresh
    is_new = (det_scores >= rules.new_det_thresh) & ~overlaps.any(axis=1)
    return Association(
        new_dets=np.flatnonzero(is_new).tolist(),
        unmatched_ids=[ids[j] for j in np.flatnonzero(has_pixels & ~matched)],
        det_to_ids={
            d: [ids[j] for j in np.flatnonzero(overlaps[d])] for d in range(len(det_scores))
        },
        high_conf=_confident_pairs(ious, det_scores, is_new, ids, confident),
        empty_ids=empty_ids,
    )


def _matched_tracks(ious: np.ndarray, rules: AssociationConfig) -> np.ndarray:
    """bool [N]: tracks that have a detection, one each with ``one_to_one``."""
    if not rules.one_to_one:
        return (ious >= rules.trk_assoc_iou_thresh).any(axis=0)
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(1 - ious)
    matched = np.zeros(ious.shape[1], bool)
    matched[columns] = ious[rows, columns] >= rules.trk_assoc_iou_thresh
    return matched


def _confident_pairs(
    ious: np.ndarray,
    scores: np.ndarray,
    is_new: np.ndarray,
    ids: list[int],
    confident: ReconditionConfig,
) -> dict[int, int]:
    """Track -> detection whose score and IoU with it are both high; a later detection wins."""
    sure = (
        (scores >= confident.high_conf_score)
        & ~is_new
        & (ious.max(axis=1) >= confident.high_conf_iou)
    )
    return {ids[int(ious[d].argmax())]: int(d) for d in np.flatnonzero(sure)}


def _resize(masks: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(
        masks[:, None].float(), size=tuple(size), mode="bilinear", align_corners=False
    )[:, 0]

"""Confident detections replace the masks that tracks have drifted to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...config.video import ReconditionConfig
from ...perflib.masks_ops import masks_to_boxes
from ..box_ops import box_iou
from .masks import resize_to_bool
from .records import Detections, TrackedMasks
from .track import quietly

SURE_TRACK_LOGIT = 0.8
"""Only tracks with an object score logit above this take a detection's mask."""


def drifted_tracks(
    detections: Detections,
    tracked: TrackedMasks,
    high_conf: Mapping[int, int],
    rules: ReconditionConfig,
) -> set[int]:
    """Tracks whose box no longer fits that of their confident detection."""
    if rules.bbox_iou_thresh <= 0 or not high_conf:
        return set()
    dets = torch.tensor(list(high_conf.values()), device=detections.scores.device)
    masks = tracked.low_res[tracked.rows(list(high_conf))] > 0
    height, width = masks.shape[-2:]
    boxes = masks_to_boxes(masks)
    boxes = boxes / boxes.new_tensor([width, height, width, height])
    ious = box_iou(boxes, detections.boxes[dets].float())[0].diagonal()
    off = (ious < rules.bbox_iou_thresh) & (detections.scores[dets] >= rules.bbox_det_score)
    return {obj_id for obj_id, is_off in zip(high_conf, off.tolist(), strict=True) if is_off}


def is_due(
    frame_idx: int, high_conf: Mapping[int, int], drifted: set[int], rules: ReconditionConfig
) -> bool:
    """Whether tracks are reconditioned on this frame: because of a drift, or as a routine."""
    n = rules.every_nth_frame
    return bool(drifted) or (n > 0 and frame_idx % n == 0 and bool(high_conf))


def recondition(
    tracker: Any,
    states: Sequence[Any],
    detections: Detections,
    tracked: TrackedMasks,
    high_conf: Mapping[int, int],
    frame_idx: int,
) -> None:
    """Give this process's sure tracks the masks of their confident detections.

    Every object of a touched state becomes conditioned on this frame, with its current mask.
    Memories of the frame are not encoded here: ``update_memories`` follows.
    """
    if not high_conf:
        return
    scores = tracked.scores[tracked.rows(list(high_conf))].tolist()
    sure = [i for i, score in zip(high_conf, scores, strict=True) if score > SURE_TRACK_LOGIT]
    state_of = {int(i): state for state in states for i in state["obj_ids"]}
    for obj_id in (i for i in sure if i in state_of):
        state = state_of[obj_id]
        mask: Tensor = detections.masks[high_conf[obj_id]][None]
        side = tracker.input_mask_size
        with quietly(state, memory_follows=True):
            tracker.add_new_mask(
                inference_state=state,
                frame_idx=frame_idx,
                obj_id=obj_id,
                mask=resize_to_bool(mask, (side, side))[0],
            )
            tracker.propagate_in_video_preflight(state, run_mem_encoder=True)

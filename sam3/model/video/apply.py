"""Carrying out a plan: tracks begin, tracks end, and the frame's masks at video size."""

from __future__ import annotations

from typing import Any

import torch

from ..sam3_tracker_utils import fill_holes_in_mask_scores
from .masks import resize_to_bool
from .plan import TrackPlan
from .records import Detections, FrameInputs, FrameMasks, TrackedMasks
from .track import quietly


def apply_plan(
    tracker: Any,
    states: list[Any],
    detections: Detections,
    plan: TrackPlan,
    inputs: FrameInputs,
    rank: int,
) -> list[Any]:
    """Begin this process's new tracks and end the removed ones; the states afterwards."""
    states = list(states)
    mine = [
        (det, obj_id)
        for det, obj_id, gpu in zip(plan.new_dets, plan.new_ids, plan.new_gpus, strict=True)
        if gpu == rank
    ]
    if mine:
        states.append(_begin(tracker, detections, mine, inputs))
    return end_tracks(tracker, states, plan.removed_ids)


def end_tracks(tracker: Any, states: list[Any], obj_ids: frozenset[int]) -> list[Any]:
    """Remove objects from the states; the states that still hold one."""
    for obj_id in sorted(obj_ids):
        for state in states:
            if obj_id in state["obj_ids"]:
                tracker.remove_object(state, obj_id, strict=False, need_output=False)
    return [state for state in states if state["obj_ids"]]


def new_state(tracker: Any, inputs: FrameInputs) -> Any:
    """An empty tracker state on the session's feature cache."""
    height, width = inputs.video_size
    return tracker.init_state(
        cached_features=inputs.feature_cache,
        video_height=height,
        video_width=width,
        num_frames=inputs.num_frames,
    )


def _begin(
    tracker: Any,
    detections: Detections,
    pairs: list[tuple[int, int]],
    inputs: FrameInputs,
) -> Any:
    """One state for all objects that begin on this frame; their masks may not overlap there."""
    state = new_state(tracker, inputs)
    side = tracker.input_mask_size
    masks = resize_to_bool(detections.masks[[det for det, _ in pairs]], (side, side))
    with quietly(state):
        for (_, obj_id), mask in zip(pairs, masks, strict=True):
            tracker.add_new_mask(
                inference_state=state,
                frame_idx=inputs.frame_idx,
                obj_id=obj_id,
                mask=mask,
                add_mask_to_memory=True,
            )
    tracker.propagate_in_video_preflight(state, run_mem_encoder=True)
    return state


def frame_masks(
    detections: Detections,
    tracked: TrackedMasks,
    plan: TrackPlan,
    drifted: set[int],
    size: tuple[int, int],
    fill_hole_area: int,
) -> FrameMasks:
    """Masks at video size: of tracks, of new objects, of drifted tracks (their detection's)."""
    obj_ids = [int(i) for i in tracked.obj_ids] + plan.new_ids
    parts = [resize_to_bool(tracked.low_res, size)]
    if plan.new_dets:
        new = fill_holes_in_mask_scores(
            detections.masks[plan.new_dets].float()[:, None], fill_hole_area
        )
        parts.append(resize_to_bool(new[:, 0], size))
    masks = torch.cat(parts)
    for obj_id in sorted(drifted):
        det = plan.high_conf[obj_id]
        masks[obj_ids.index(obj_id)] = resize_to_bool(detections.masks[det][None], size)[0]
    return FrameMasks(obj_ids, masks[:, None])

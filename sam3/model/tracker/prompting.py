"""Points, boxes and masks on one object in one frame; a failed call changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .consolidate import row_source
from .inputs import add_points, limit_points
from .mask_heads import NO_OBJ_SCORE
from .options import TrackerOptions
from .packed_masks import PackedMasks
from .postprocess import resize_logits
from .single_frame import track_one_frame
from .state import FrameOutput, InferenceState, OutputBank, PointInputs

if TYPE_CHECKING:
    from ..sam3_tracker_base import Sam3TrackerBase

MASK_THRESHOLD = 0.5
"""A resized mask prompt is foreground above this."""
MAX_PROMPT_LOGIT = 32.0
"""Logits of an earlier mask are clamped to +- this before they become a prompt."""


def prompt_points(
    model: Sam3TrackerBase,
    options: TrackerOptions,
    state: InferenceState,
    frame_idx: int,
    obj_id: int,
    points: PointInputs,
    *,
    clear_old_points: bool,
    use_prev_mem_frame: bool,
) -> None:
    """Segment one object from points; the output waits for its consolidation.

    Raises:
        SessionError: a new object after tracking has started, or no features of the frame.
    """
    idx = state.prospective_index(obj_id)
    old = None if clear_old_points else state.point_inputs_per_obj.get(idx, {}).get(frame_idx)
    points = limit_points(add_points(old, points), options.max_point_num_in_prompt_enc)
    is_cond, reverse, is_init = _frame_kind(options, state, frame_idx)
    out, _ = track_one_frame(
        model,
        state,
        frame_idx,
        state.output_dict_per_obj.get(idx, OutputBank()),
        1,
        is_init_cond_frame=is_init,
        reverse=reverse,
        run_mem_encoder=False,
        point_inputs=points,
        prev_sam_mask_logits=_previous_logits(options, state, idx, frame_idx, is_cond),
        use_prev_mem_frame=use_prev_mem_frame,
        fill_hole_area=options.fill_hole_area,
    )
    state.register(obj_id)
    state.point_inputs_per_obj[idx][frame_idx] = points
    state.mask_inputs_per_obj[idx].pop(frame_idx, None)
    state.temp_output_dict_per_obj[idx].frames(is_cond)[frame_idx] = out


def prompt_mask(
    model: Sam3TrackerBase,
    options: TrackerOptions,
    state: InferenceState,
    frame_idx: int,
    obj_id: int,
    mask: Tensor,
) -> None:
    """Take a mask ``[1, 1, h, w]`` (any size) as one object's output on a frame.

    Where it is on, the other objects' masks that were given on this frame go off.

    Raises:
        SessionError: as :func:`prompt_points`.
    """
    idx = state.prospective_index(obj_id)
    mask = mask.to(state.device)
    side = (model.input_mask_size, model.input_mask_size)
    is_cond, reverse, is_init = _frame_kind(options, state, frame_idx)
    out, _ = track_one_frame(
        model,
        state,
        frame_idx,
        state.output_dict_per_obj.get(idx, OutputBank()),
        1,
        is_init_cond_frame=is_init,
        reverse=reverse,
        run_mem_encoder=False,
        mask_inputs=resize_logits(mask, side, antialias=True),
    )
    size = (state.video_height, state.video_width)
    inside = resize_logits(mask, size, antialias=True) > MASK_THRESHOLD
    out.pred_masks = None
    out.pred_masks_video_res = torch.where(inside, -NO_OBJ_SCORE, NO_OBJ_SCORE)
    state.register(obj_id)
    state.mask_inputs_per_obj[idx][frame_idx] = PackedMasks.pack(inside)
    state.point_inputs_per_obj[idx].pop(frame_idx, None)
    state.temp_output_dict_per_obj[idx].frames(is_cond)[frame_idx] = out
    _take_from_others(state, idx, frame_idx, is_cond, inside)


def _frame_kind(
    options: TrackerOptions, state: InferenceState, frame_idx: int
) -> tuple[bool, bool, bool]:
    """(becomes a conditioning frame, was tracked in reverse, was not tracked yet)."""
    tracked = state.frames_already_tracked.get(frame_idx)
    if tracked is None:
        return True, False, True
    return options.add_all_frames_to_correct_as_cond, tracked.reverse, False


def _previous_logits(
    options: TrackerOptions, state: InferenceState, idx: int, frame_idx: int, is_cond: bool
) -> Tensor | None:
    """``[1, 1, 288, 288]`` mask that the object already has on the frame, if any."""
    if not options.iter_use_prev_mask_pred or idx >= len(state.obj_ids):
        return None
    source: FrameOutput | None = row_source(state, idx, frame_idx, is_cond)
    logits = None if source is None else source.mask_logits(state.device)
    return None if logits is None else logits.clamp(-MAX_PROMPT_LOGIT, MAX_PROMPT_LOGIT)


def _take_from_others(
    state: InferenceState, idx: int, frame_idx: int, is_cond: bool, inside: Tensor
) -> None:
    for other, waiting in state.temp_output_dict_per_obj.items():
        out = waiting.frames(is_cond).get(frame_idx)
        if other != idx and out is not None and out.pred_masks_video_res is not None:
            out.pred_masks_video_res = torch.where(inside, NO_OBJ_SCORE, out.pred_masks_video_res)

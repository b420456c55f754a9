"""From outputs of single objects on a frame to one packed output of all objects.

Clicks and masks run on one object at a time and leave temporary outputs. Before tracking, the
frames that have some are packed, with memory; for display, they are packed at the video's size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from .mask_heads import NO_OBJ_SCORE
from .options import TrackerOptions
from .overlap import apply_non_overlapping_constraints
from .postprocess import resize_logits, video_res_masks
from .single_frame import encode_memory, mask_pointer
from .state import FrameOutput, FrameSets, InferenceState, OutputBank

if TYPE_CHECKING:
    from ..sam3_tracker_base import Sam3TrackerBase

PRESENT_SCORE = 10.0
"""Object score logit of such an object."""


# ---- decide ---------------------------------------------------------------------------------


def row_source(
    state: InferenceState, idx: int, frame_idx: int, is_cond: bool
) -> FrameOutput | None:
    """The newest output of one object on a frame: not yet consolidated, conditioning, tracked."""
    temporary = state.temp_output_dict_per_obj[idx].frames(is_cond).get(frame_idx)
    if temporary is not None:
        return temporary
    own = state.output_dict_per_obj[idx]
    for live in (own.cond_frame_outputs, own.non_cond_frame_outputs):
        if frame_idx in live:
            return live[frame_idx]
    for left in (state.archive.cond_frame_outputs, state.archive.non_cond_frame_outputs):
        if frame_idx in left and frame_idx not in state.hidden_frames:
            return left[frame_idx].rows(slice(idx, idx + 1))
    return None


def temporary_frames(state: InferenceState, is_cond: bool) -> list[int]:
    """Frames with outputs that wait for consolidation, ascending."""
    banks = state.temp_output_dict_per_obj.values()
    return sorted({t for bank in banks for t in bank.frames(is_cond)})


def has_temporary_cond(state: InferenceState, frame_idx: int) -> bool:
    """Whether any object has a temporary conditioning output on the frame."""
    banks = state.temp_output_dict_per_obj.values()
    return any(frame_idx in bank.cond_frame_outputs for bank in banks)


# ---- do -------------------------------------------------------------------------------------


def consolidate(
    model: Sam3TrackerBase,
    state: InferenceState,
    frame_idx: int,
    *,
    is_cond: bool,
    run_mem_encoder: bool,
    at_video_res: bool = False,
) -> FrameOutput:
    """Pack the outputs of all objects on a frame, one row per object.

    Args:
        is_cond: which kind of temporary outputs to take.
        run_mem_encoder: also encode memory. Masks never overlap there, whatever the options say.
        at_video_res: pack ``pred_masks_video_res`` ``[N, 1, H, W]`` instead of ``pred_masks``.

    Returns:
        A record with one row per object; -1024 where an object has no mask.
    """
    sources = [row_source(state, i, frame_idx, is_cond) for i in range(len(state.obj_ids))]
    low = (model.low_res_mask_size, model.low_res_mask_size)
    size = (state.video_height, state.video_width) if at_video_res else low
    masks = torch.cat([_mask_row(source, size, state.device) for source in sources])
    scores = torch.cat([_score_row(source, state.device) for source in sources])
    packed = FrameOutput(object_score_logits=scores)
    if at_video_res:
        packed.pred_masks_video_res = masks
        return packed
    packed.pred_masks = masks.to(state.storage_device)
    packed.obj_ptr = torch.cat(
        [_pointer_row(model, state, frame_idx, s, run_mem_encoder) for s in sources]
    )
    if model.use_memory_selection:
        packed.iou_score = torch.cat([_iou_row(source, state.device) for source in sources])
    if run_mem_encoder:
        packed.maskmem_features, packed.maskmem_pos_enc = _memory(
            model, state, frame_idx, masks, scores
        )
    return packed


def displayed_masks(
    model: Sam3TrackerBase, options: TrackerOptions, state: InferenceState, frame_idx: int
) -> Tensor:
    """``[N, 1, H, W]`` logits of all objects on a frame, as returned to the caller."""
    is_cond = has_temporary_cond(state, frame_idx)
    packed = consolidate(
        model, state, frame_idx, is_cond=is_cond, run_mem_encoder=False, at_video_res=True
    )
    assert packed.pred_masks_video_res is not None
    return video_res_masks(state, packed.pred_masks_video_res, options.non_overlap_masks_for_output)


def consolidate_all(
    model: Sam3TrackerBase, options: TrackerOptions, state: InferenceState, run_mem_encoder: bool
) -> None:
    """Pack every frame with temporary outputs, and bring the frame sets up to date."""
    bank, done = state.output_dict, state.consolidated_frame_inds
    ready: list[tuple[int, bool, FrameOutput]] = []
    for is_cond in (False, True):
        for frame_idx in temporary_frames(state, is_cond):
            packed = consolidate(
                model, state, frame_idx, is_cond=is_cond, run_mem_encoder=run_mem_encoder
            )
            ready.append((frame_idx, is_cond, packed))
    for frame_idx, is_cond, packed in ready:
        bank.frames(is_cond)[frame_idx] = packed
        done.frames(is_cond).add(frame_idx)
        for archived in (state.archive.cond_frame_outputs, state.archive.non_cond_frame_outputs):
            archived.pop(frame_idx, None)
        if options.clears_around_inputs(len(state.obj_ids)):
            hide_around(state, frame_idx, model.num_maskmem, model.memory_temporal_stride_for_eval)
    for idx in state.temp_output_dict_per_obj:
        state.temp_output_dict_per_obj[idx] = OutputBank()
    for frame_idx in state.cond_frames():
        bank.non_cond_frame_outputs.pop(frame_idx, None)
        state.archive.non_cond_frame_outputs.pop(frame_idx, None)
    _drop_cond_from_non_cond(done)


def hide_around(state: InferenceState, frame_idx: int, num_maskmem: int, stride: int) -> None:
    """Leave tracked frames near an input out of the objects' own views."""
    reach = num_maskmem * stride
    near = range(frame_idx - reach, frame_idx + reach + 1)
    tracked = (state.output_dict.non_cond_frame_outputs, state.archive.non_cond_frame_outputs)
    state.hidden_frames.update(t for t in near if any(t in frames for frames in tracked))


def _drop_cond_from_non_cond(done: FrameSets) -> None:
    done.non_cond_frame_outputs -= done.cond_frame_outputs


def _mask_row(source: FrameOutput | None, size: tuple[int, int], device: torch.device) -> Tensor:
    """``[1, 1, *size]`` logits of one object."""
    if source is None:
        return torch.full((1, 1, *size), NO_OBJ_SCORE, device=device)
    if source.pred_masks_video_res is not None:
        return resize_logits(source.pred_masks_video_res.to(device), size, antialias=True)
    masks = source.mask_logits(device)
    if masks is None:
        return torch.full((1, 1, *size), NO_OBJ_SCORE, device=device)
    return resize_logits(masks, size)


def _score_row(source: FrameOutput | None, device: torch.device) -> Tensor:
    scores = None if source is None else source.score_logits(device)
    if scores is None:
        return torch.full((1, 1), PRESENT_SCORE, device=device)
    return scores.float()


def _iou_row(source: FrameOutput | None, device: torch.device) -> Tensor:
    if source is None or source.iou_score is None:
        return torch.zeros(1, 1, device=device)
    return source.iou_score.to(device).float().reshape(1, 1)


def _pointer_row(
    model: Sam3TrackerBase,
    state: InferenceState,
    frame_idx: int,
    source: FrameOutput | None,
    run_mem_encoder: bool,
) -> Tensor:
    """``[1, C]``: the output's own, that of an empty mask, or that of a mask kept as bits."""
    if source is not None and source.obj_ptr is not None:
        return source.obj_ptr.to(state.device)
    if not run_mem_encoder:
        return torch.full((1, model.hidden_dim), NO_OBJ_SCORE, device=state.device)
    mask = None
    if source is not None and source.packed_masks is not None:
        side = (model.input_mask_size, model.input_mask_size)
        mask = (resize_logits(source.packed_masks.logits(state.device), side) > 0).float()
    return mask_pointer(model, state, frame_idx, mask)


def _memory(
    model: Sam3TrackerBase, state: InferenceState, frame_idx: int, masks: Tensor, scores: Tensor
) -> tuple[Tensor | None, list[Tensor] | None]:
    side = (model.image_size, model.image_size)
    high = F.interpolate(masks, size=side, mode="bilinear", align_corners=False)
    high = apply_non_overlapping_constraints(high)
    return encode_memory(model, state, frame_idx, len(masks), high, scores, True)

"""From outputs of single objects on a frame to one packed output of all objects.

Clicks and masks run on one object at a time and leave temporary outputs. Before tracking, the
frames that have some are packed, with memory; for display, they are packed at the video's size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from .mask_heads import NO_OBJ_SCORE
from .options import TrackerOptions
from .overlap import apply_non_overlapping_constraints
from .postprocess import no_masks, resize_logits, video_res_masks
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
    packed = packed_source(state, frame_idx)
    return None if packed is None else packed.rows(slice(idx, idx + 1))


def packed_source(state: InferenceState, frame_idx: int) -> FrameOutput | None:
    """The newest packed output of a frame that the objects' own views show."""
    bank, left = state.output_dict, state.archive
    if frame_idx in bank.cond_frame_outputs:
        return bank.cond_frame_outputs[frame_idx]
    if frame_idx in state.hidden_frames:
        return None
    for frames in (
        bank.non_cond_frame_outputs,
        left.cond_frame_outputs,
        left.non_cond_frame_outputs,
    ):
        if frame_idx in frames:
            return frames[frame_idx]
    return None


@dataclass(frozen=True)
class Source:
    """Where some rows of a packed output come from.

    rows: of the packed output. record: None where the objects have no output yet. own: the rows
    of the record that belong there; None for all of them.
    """

    rows: Sequence[int]
    record: FrameOutput | None
    own: list[int] | None = None

    def pick(self, value: Tensor) -> Tensor:
        """The rows that belong there, of a tensor with the record's rows."""
        return value if self.own is None else value[self.own]


def row_sources(state: InferenceState, frame_idx: int, is_cond: bool) -> list[Source]:
    """Sources of all rows: one for each object with a temporary output, one for all others."""
    waiting = {
        idx: temporary.frames(is_cond)[frame_idx]
        for idx, temporary in state.temp_output_dict_per_obj.items()
        if frame_idx in temporary.frames(is_cond)
    }
    sources = [Source([idx], out) for idx, out in waiting.items()]
    rest = [idx for idx in range(len(state.obj_ids)) if idx not in waiting]
    if rest:
        sources.append(Source(rest, packed_source(state, frame_idx), rest if waiting else None))
    return sources


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
        run_mem_encoder: also encode memory (unless ``state.memory_follows``). Masks never overlap
            there, whatever the options say.
        at_video_res: pack ``pred_masks_video_res`` ``[N, 1, H, W]`` instead of ``pred_masks``.

    Returns:
        A record with one row per object; -1024 where an object has no mask.
    """
    sources = row_sources(state, frame_idx, is_cond)
    low = (model.low_res_mask_size, model.low_res_mask_size)
    size = (state.video_height, state.video_width) if at_video_res else low
    masks = _packed(sources, lambda source: _mask_rows(source, size, state.device))
    scores = _packed(sources, lambda source: _score_rows(source, state.device))
    packed = FrameOutput(object_score_logits=scores)
    if at_video_res:
        packed.pred_masks_video_res = masks
        return packed
    packed.pred_masks = masks.to(state.storage_device)
    packed.obj_ptr = _packed(
        sources, lambda source: _pointer_rows(model, state, frame_idx, source, run_mem_encoder)
    )
    if model.use_memory_selection:
        packed.iou_score = _packed(sources, lambda source: _iou_rows(source, state.device))
    if run_mem_encoder and not state.memory_follows:
        packed.maskmem_features, packed.maskmem_pos_enc = _memory(
            model, state, frame_idx, masks, scores
        )
    return packed


def displayed_masks(
    model: Sam3TrackerBase, options: TrackerOptions, state: InferenceState, frame_idx: int
) -> Tensor:
    """``[N, 1, H, W]`` logits of all objects on a frame, for the caller; N = 0 if ``quiet``."""
    if state.quiet:
        return no_masks(state)
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


def _packed(sources: Sequence[Source], part: Callable[[Source], Tensor]) -> Tensor:
    """The sources' parts, one row per object in order."""
    rows = [row for source in sources for row in source.rows]
    parts = torch.cat([part(source) for source in sources])
    if rows == sorted(rows):
        return parts
    return parts[torch.tensor(rows, device=parts.device).argsort()]


def _mask_rows(source: Source, size: tuple[int, int], device: torch.device) -> Tensor:
    """``[n, 1, *size]`` logits."""
    record = source.record
    if record is not None and record.pred_masks_video_res is not None:
        full = source.pick(record.pred_masks_video_res).to(device)
        return resize_logits(full, size, antialias=True)
    masks = None if record is None else record.mask_logits(device)
    if masks is None:
        return torch.full((len(source.rows), 1, *size), NO_OBJ_SCORE, device=device)
    return resize_logits(source.pick(masks), size)


def _score_rows(source: Source, device: torch.device) -> Tensor:
    scores = None if source.record is None else source.record.score_logits(device)
    if scores is None:
        return torch.full((len(source.rows), 1), PRESENT_SCORE, device=device)
    return source.pick(scores).float()


def _iou_rows(source: Source, device: torch.device) -> Tensor:
    if source.record is None or source.record.iou_score is None:
        return torch.zeros(len(source.rows), 1, device=device)
    return source.pick(source.record.iou_score.to(device).float().reshape(-1, 1))


def _pointer_rows(
    model: Sam3TrackerBase,
    state: InferenceState,
    frame_idx: int,
    source: Source,
    run_mem_encoder: bool,
) -> Tensor:
    """``[n, C]``: the output's own, those of an empty mask, or of masks kept as bits."""
    record, count = source.record, len(source.rows)
    if record is not None and record.obj_ptr is not None:
        return source.pick(record.obj_ptr.to(state.device))
    if not run_mem_encoder:
        return torch.full((count, model.hidden_dim), NO_OBJ_SCORE, device=state.device)
    if record is None or record.packed_masks is None:
        return mask_pointer(model, state, frame_idx, None).expand(count, -1)
    side = (model.input_mask_size, model.input_mask_size)
    masks = resize_logits(source.pick(record.packed_masks.logits(state.device)), side) > 0
    return torch.cat([mask_pointer(model, state, frame_idx, m[None].float()) for m in masks])


def _memory(
    model: Sam3TrackerBase, state: InferenceState, frame_idx: int, masks: Tensor, scores: Tensor
) -> tuple[Tensor | None, list[Tensor] | None]:
    side = (model.image_size, model.image_size)
    high = F.interpolate(masks, size=side, mode="bilinear", align_corners=False)
    high = apply_non_overlapping_constraints(high)
    return encode_memory(model, state, frame_idx, len(masks), high, scores, True)

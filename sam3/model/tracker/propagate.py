"""Which frames a propagation visits, and what happens on each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from ...errors import InputError, SessionError, UnsupportedInputError
from .consolidate import consolidate_all, hide_around
from .options import TrackerOptions
from .postprocess import video_res_masks
from .retention import release_unreachable
from .single_frame import track_one_frame
from .state import TRACKED, InferenceState, TrackRun

if TYPE_CHECKING:
    from ..sam3_tracker_base import Sam3TrackerBase


class FrameResult(NamedTuple):
    """One frame of a propagation.

    low_res_masks: logits ``[N, 1, 288, 288]``. video_res_masks: logits ``[N, 1, H, W]``.
    obj_scores: logits ``[N, 1]``; above 0 the object is there.
    """

    frame_idx: int
    obj_ids: list[int]
    low_res_masks: Tensor
    video_res_masks: Tensor
    obj_scores: Tensor


# ---- decide ---------------------------------------------------------------------------------


def processing_order(start: int, max_frames: int | None, num_frames: int, reverse: bool) -> range:
    """Frames from ``start`` on: at most ``max_frames`` beyond it, inside the video.

    Backwards from frame 0 that is frame 0 alone.
    """
    count = num_frames if max_frames is None else max_frames
    if reverse:
        return range(start, max(start - count, 0) - 1, -1)
    return range(start, min(start + count, num_frames - 1) + 1)


def check_request(
    state: InferenceState,
    asked_start: int | None,
    max_frames: int | None,
    obj_ids: list[int] | None,
) -> None:
    """Refuse what no propagation of this session can do.

    Raises:
        UnsupportedInputError: ``obj_ids`` given. InputError: a start outside the video, or a
        negative number of frames.
    """
    if obj_ids is not None:
        raise UnsupportedInputError(
            "obj_ids cannot choose objects: all objects of a session are tracked together; "
            "use a session for each group"
        )
    if max_frames is not None and max_frames < 0:
        raise InputError(f"max_frame_num_to_track is {max_frames}; it must be 0 or more")
    if asked_start is not None:
        state.check_frame(asked_start)


def plan(
    state: InferenceState,
    options: TrackerOptions,
    asked_start: int | None,
    max_frames: int | None,
    reverse: bool,
) -> range:
    """The frames of a propagation, in order: from the start asked for, or the earliest input.

    Raises:
        SessionError: no conditioning frame.
    """
    cond = state.cond_frames()
    if not cond:
        raise SessionError(
            "there is nothing to track yet: add points, a box or a mask, then call "
            "propagate_in_video_preflight"
        )
    start = cond[0] if asked_start is None else state.check_frame(asked_start)
    if options.always_start_from_first_ann_frame and state.first_ann_frame_idx is not None:
        start = state.first_ann_frame_idx
    return processing_order(start, max_frames, state.num_frames, reverse)


# ---- do -------------------------------------------------------------------------------------


def preflight(
    model: Sam3TrackerBase, options: TrackerOptions, state: InferenceState, run_mem_encoder: bool
) -> None:
    """Turn all inputs into conditioning memory; from then on no object can be added.

    Raises:
        SessionError: there are no inputs. The session is as before.
    """
    inputs = state.input_frames()
    if not inputs:
        raise SessionError(
            "there is nothing to track: add points, a box or a mask for an object first"
        )
    consolidate_all(model, options, state, run_mem_encoder)
    state.tracking_has_started = True
    done = state.consolidated_frame_inds
    assert done.all() == inputs, f"consolidated {sorted(done.all())}, inputs {sorted(inputs)}"
    first = min(inputs)
    cond = state.cond_frames()
    state.first_ann_frame_idx = first if first in cond or not cond else cond[0]


def propagate(
    model: Sam3TrackerBase,
    options: TrackerOptions,
    state: InferenceState,
    frames: Iterable[int],
    reverse: bool,
    run_mem_encoder: bool,
) -> Iterator[FrameResult]:
    """Track through ``frames``. Each frame is stored whole before it is yielded."""
    for frame_idx in frames:
        masks, scores = _stored_result(model, options, state, frame_idx) or _tracked_result(
            model, options, state, frame_idx, reverse, run_mem_encoder
        )
        state.frames_already_tracked[frame_idx] = TRACKED[reverse]
        run = state.run
        state.run = (
            TrackRun(frame_idx, frame_idx, reverse)
            if run is None
            else run.extended(frame_idx, reverse)
        )
        release_unreachable(state, model._memory_rules, options.keep_outputs)
        full = video_res_masks(state, masks, options.non_overlap_masks_for_output)
        yield FrameResult(frame_idx, list(state.obj_ids), masks, full, scores)


def _stored_result(
    model: Sam3TrackerBase, options: TrackerOptions, state: InferenceState, frame_idx: int
) -> tuple[Tensor, Tensor] | None:
    """Masks and scores of a frame with consolidated inputs; None for other frames."""
    done = state.consolidated_frame_inds
    is_cond = frame_idx in done.cond_frame_outputs
    if not is_cond and frame_idx not in done.non_cond_frame_outputs:
        return None
    out = state.stored(frame_idx, is_cond)
    assert out is not None, f"frame {frame_idx} is consolidated but not stored"
    masks, scores = out.mask_logits(state.device), out.score_logits(state.device)
    assert masks is not None and scores is not None
    if is_cond and options.clears_around_inputs(len(state.obj_ids)):
        hide_around(state, frame_idx, model.num_maskmem, model.memory_temporal_stride_for_eval)
    return masks, scores


def _tracked_result(
    model: Sam3TrackerBase,
    options: TrackerOptions,
    state: InferenceState,
    frame_idx: int,
    reverse: bool,
    run_mem_encoder: bool,
) -> tuple[Tensor, Tensor]:
    """Masks and scores of a frame without inputs: all objects in one batch."""
    out, masks = track_one_frame(
        model,
        state,
        frame_idx,
        state.output_dict,
        len(state.obj_ids),
        is_init_cond_frame=False,
        reverse=reverse,
        run_mem_encoder=run_mem_encoder,
        fill_hole_area=options.fill_hole_area,
    )
    state.output_dict.non_cond_frame_outputs[frame_idx] = out
    state.archive.non_cond_frame_outputs.pop(frame_idx, None)
    state.hidden_frames.discard(frame_idx)
    assert out.object_score_logits is not None
    return masks, out.object_score_logits

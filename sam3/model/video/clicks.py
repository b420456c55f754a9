"""Clicks on a frame: a new object, or a better mask for one that is tracked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ...errors import SessionError
from ..sam3_tracker_utils import fill_holes_in_mask_scores
from .actions import Action, ActionType
from .apply import end_tracks, new_state
from .confirm import MaskletConfirmationStatus
from .detect import detect
from .metadata import Confirmation, TrackMetadata
from .outputs import CachedFrame
from .plan import assign_gpus
from .prompting import ClickPrompt
from .records import FrameMasks
from .session import VideoSession

if TYPE_CHECKING:
    from ..sam3_video_inference import Sam3VideoInference

CLICKED_SCORE = 1.0


def check_click(model: Sam3VideoInference, session: VideoSession, frame: int, obj_id: int) -> None:
    """SessionError when a click cannot be used now; changes nothing.

    Where objects are found by detection, a frame must have been run before it is corrected.
    """
    metadata = session.tracker_metadata
    if session.detects and frame not in session.cached_frame_outputs:
        raise SessionError(
            f"frame {frame} has no results yet; propagate over it before you click on it"
        )
    total, limit = int(metadata.num_obj_per_gpu.sum()), model.rules.object_limit
    if not metadata.has(obj_id) and total >= limit:
        raise SessionError(
            f"object {obj_id} is new, but {total} objects are tracked and max_num_objects is"
            f" {limit}; remove one first"
        )


def add_clicks(
    model: Sam3VideoInference, session: VideoSession, frame: int, click: ClickPrompt
) -> None:
    """Run the tracker on checked clicks and put the object's mask into the frame's results.

    In a process that does not track the object only the records change; the mask is sent to it.
    """
    inputs = session.frame_inputs(frame, reverse=False)
    detect(model.detector, model.tracker, inputs, model.rules.detection)
    metadata = session.tracker_metadata.copy()
    known = metadata.has(click.obj_id)
    if known and model.rules.interaction.use_stateless_refinement:
        session.tracker_inference_states = end_tracks(
            model.tracker, session.tracker_inference_states, frozenset((click.obj_id,))
        )
    if not known:
        _register(model, metadata, click.obj_id)
    owner = metadata.gpu_of(click.obj_id)
    mask = torch.zeros(1, *session.video_size, dtype=torch.uint8, device=model.device)
    if owner == model.rank:
        mask = _click_mask(model, session, frame, click).to(torch.uint8)
    if model.world_size > 1:
        counts = [int(rank == owner) for rank in range(model.world_size)]
        mask = model.collective.gather_rows(mask[: counts[model.rank]], counts)
    _record(metadata, frame, click.obj_id, model.rules.confirmation.consecutive_det_thresh)
    session.tracker_metadata = metadata
    kind = ActionType.REFINE if known else ActionType.ADD
    session.action_history.append(Action(kind, frame, [click.obj_id]))
    cached = session.cached_frame_outputs.get(frame, CachedFrame({}))
    new = FrameMasks([click.obj_id], mask.bool()[None])
    session.cached_frame_outputs[frame] = cached.with_masks(new)


def _register(model: Sam3VideoInference, metadata: TrackMetadata, obj_id: int) -> None:
    """Put a new object on the list of the least loaded process."""
    gpu = assign_gpus(1, metadata.num_obj_per_gpu)[0]
    notes = metadata.rank0_metadata
    before, old = metadata.obj_ids_all_gpu, notes.masklet_confirmation
    metadata.add_ids([obj_id], [gpu])
    if old is not None:
        place = int(np.flatnonzero(~np.isin(metadata.obj_ids_all_gpu, before))[0])
        notes.masklet_confirmation = Confirmation(
            np.insert(old.status, place, MaskletConfirmationStatus.UNCONFIRMED),
            np.insert(old.consecutive_det_num, place, 0),
        )


def _record(metadata: TrackMetadata, frame: int, obj_id: int, threshold: int) -> None:
    """A clicked object is sure, shown and confirmed."""
    metadata.obj_id_to_score[obj_id] = CLICKED_SCORE
    metadata.set_frame_scores(frame, {obj_id: CLICKED_SCORE})
    notes = metadata.rank0_metadata
    notes.unhide(obj_id)
    old = notes.masklet_confirmation
    if old is not None:
        mine = metadata.obj_ids_all_gpu == obj_id
        notes.masklet_confirmation = Confirmation(
            np.where(mine, MaskletConfirmationStatus.UNCONFIRMED, old.status),
            np.where(mine, threshold, old.consecutive_det_num),
        )


def _click_mask(
    model: Sam3VideoInference, session: VideoSession, frame: int, click: ClickPrompt
) -> Tensor:
    """The object's mask at video size, bool [1, H, W], from the state that tracks it."""
    states = session.tracker_inference_states
    state = next((s for s in states if click.obj_id in s["obj_ids"]), None)
    is_new = state is None
    if is_new:
        state = new_state(model.tracker, session.frame_inputs(frame, reverse=False))
    _, obj_ids, _, video_res = model.tracker.add_new_points(
        inference_state=state,
        frame_idx=frame,
        obj_id=click.obj_id,
        points=click.points,
        labels=click.labels,
        clear_old_points=True,
        rel_coordinates=click.rel_coordinates,
        use_prev_mem_frame=model.rules.interaction.use_prev_mem_frame,
    )
    if is_new:
        states.append(state)
    row = [int(i) for i in obj_ids].index(click.obj_id)
    masks = fill_holes_in_mask_scores(video_res[row : row + 1].float(), model.rules.fill_hole_area)
    model.tracker.propagate_in_video_preflight(state, run_mem_encoder=True)
    window = model.rules.interaction.cond_frame_removal_window
    _drop_detected_prompts(model.tracker, state, frame, click.obj_id, window)
    return masks[0] > 0


def _drop_detected_prompts(tracker: Any, state: Any, frame: int, obj_id: int, window: int) -> None:
    """Near a click, masks that detection once gave to the object no longer count as prompts."""
    row = state["obj_id_to_idx"][obj_id]
    clicked = state["point_inputs_per_obj"][row]
    given = [
        t
        for t in state["mask_inputs_per_obj"][row]
        if abs(t - frame) <= window and t not in clicked
    ]
    for t in sorted(given):
        for other in list(state["obj_ids"]):
            tracker.clear_all_points_in_frame(state, t, other, need_output=False)

"""Taking inputs and objects out of a session again."""

from __future__ import annotations

from .memory_select import mem_score
from .state import FrameOutput, InferenceState, OutputBank


def clear_points(state: InferenceState, frame_idx: int, idx: int) -> None:
    """Drop one object's inputs on a frame.

    A frame that nobody has inputs on any more becomes an ordinary tracked frame; when the last
    conditioning frame goes that way, all tracking results go. Inputs that wait for their
    consolidation stay.
    """
    state.point_inputs_per_obj[idx].pop(frame_idx, None)
    state.mask_inputs_per_obj[idx].pop(frame_idx, None)
    temporary = state.temp_output_dict_per_obj[idx]
    temporary.cond_frame_outputs.pop(frame_idx, None)
    temporary.non_cond_frame_outputs.pop(frame_idx, None)
    if frame_idx in state.input_frames():
        return
    state.consolidated_frame_inds.cond_frame_outputs.discard(frame_idx)
    state.consolidated_frame_inds.non_cond_frame_outputs.discard(frame_idx)
    for bank in (state.output_dict, state.archive):
        out = bank.cond_frame_outputs.pop(frame_idx, None)
        if out is not None:
            bank.non_cond_frame_outputs[frame_idx] = out
            state.frames_already_tracked.pop(frame_idx, None)
            state.hidden_frames.discard(frame_idx)
    if not state.cond_frames():
        state.drop_outputs()


def input_frames_of(state: InferenceState, idx: int) -> list[int]:
    """Frames where the object has points or a mask, ascending."""
    return sorted({*state.point_inputs_per_obj[idx], *state.mask_inputs_per_obj[idx]})


def remove_rows(state: InferenceState, idx: int) -> None:
    """Take the object in row ``idx`` out of the ids, the inputs and all packed outputs."""
    kept = [i for i in range(len(state.obj_ids)) if i != idx]
    for name in ("point_inputs_per_obj", "mask_inputs_per_obj", "temp_output_dict_per_obj"):
        old = state[name]
        state[name] = {new: old[i] for new, i in enumerate(kept)}
    for bank in (state.output_dict, state.archive):
        _slice_bank(bank, kept)
    state.set_objects([state.obj_ids[i] for i in kept])


def _slice_bank(bank: OutputBank, kept: list[int]) -> None:
    for frames in (bank.cond_frame_outputs, bank.non_cond_frame_outputs):
        for frame_idx, out in list(frames.items()):
            frames[frame_idx] = _rescored(out.rows(kept))


def _rescored(out: FrameOutput) -> FrameOutput:
    """With the effective IoU of the objects that are left, for consolidated frames too."""
    if out.iou_score is not None and out.object_score_logits is not None:
        score = mem_score(out.object_score_logits, out.iou_score)
        out.eff_iou_score = score.detach().cpu()
    return out

"""Which memories a frame looks at: pure decisions on frame indices and scores.

Entry point :func:`choose_memories`. Going in reverse, "earlier" means a larger frame index.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from torch import Tensor

from ..sam3_tracker_utils import select_closest_cond_frames
from .types import MemoryChoice, MemoryRules, PointerMemory, SpatialMemory


def mem_score(object_score_logits: Tensor, iou_score: Tensor) -> Tensor:
    """Worth of a frame as a memory: mean of presence times predicted IoU, 0-d.

    object_score_logits [B, 1]; iou_score [B] or [B, 1]. With [B] the mean runs over all pairs of
    objects, as released; with [B, 1] over the objects. Presence is 2 sigmoid - 1, 0 if absent.
    """
    presence = (2 * object_score_logits.sigmoid() - 1).clamp(min=0)
    return (presence * iou_score).mean()


def frame_filter(
    scores: Mapping[int, float],
    frame_idx: int,
    num_frames: int,
    reverse: bool,
    threshold: float,
    max_frames: int,
) -> list[int]:
    """Frames worth looking at, the nearest last.

    Args:
        scores: frame -> worth (:func:`mem_score`); conditioning frames are not in it.
        threshold: frames at or below it are passed over, save the adjacent one.
        max_frames: upper limit of the frames looked for, before the adjacent one is added.

    Returns:
        frame indices; empty on the first frame. Frame 0 is never looked for going forward.
    """
    if frame_idx == (num_frames - 1 if reverse else 0):
        return []
    if reverse:
        walk = sorted(t for t in scores if frame_idx < t < num_frames)
    else:
        walk = sorted((t for t in scores if 1 <= t < frame_idx), reverse=True)
    good = [t for t in walk if scores[t] > threshold]
    valid = good[:max_frames][::-1]
    adjacent = frame_idx + 1 if reverse else frame_idx - 1
    return valid if adjacent in valid else [*valid, adjacent]


def choose_memories(
    frame_idx: int,
    num_frames: int,
    reverse: bool,
    cond_frames: Collection[int],
    other_frames: Mapping[int, float | None],
    rules: MemoryRules,
) -> MemoryChoice:
    """Decide what the frame looks at.

    Args:
        frame_idx: the frame to be tracked, of ``num_frames``.
        cond_frames: frames with prompts, in the order they were made.
        other_frames: tracked frame -> worth as a memory, None where it has none.

    Returns:
        Spatial memories: conditioning frames first, then the oldest other frame to the newest.
        Pointers: conditioning frames up to now, then other frames from the newest to the oldest.

    Raises:
        InputError: ``rules.max_cond_frames`` below 2 and not -1.
    """
    selected, unselected = select_closest_cond_frames(
        frame_idx,
        dict.fromkeys(cond_frames),
        rules.max_cond_frames,
        rules.keep_first_cond_frame,
    )
    usable = other_frames.keys() | unselected.keys()
    limit = min(num_frames, rules.max_obj_ptrs)
    valid = None
    if rules.score_threshold is not None:
        known = {t: score for t, score in other_frames.items() if score is not None}
        valid = frame_filter(
            known, frame_idx, num_frames, reverse, rules.score_threshold, limit - 1
        )
    spatial = [SpatialMemory(t, 0) for t in selected]
    for t_pos in range(1, rules.num_maskmem):
        t = _slot_frame(frame_idx, rules.num_maskmem - t_pos, reverse, rules.stride, valid)
        if t is not None and t in usable:
            spatial.append(SpatialMemory(t, t_pos))
    sign = -1 if reverse else 1
    pointers = [
        PointerMemory(t, (frame_idx - t) * sign, True)
        for t in selected
        if (frame_idx - t) * sign >= 0
    ]
    pointers += [
        PointerMemory(t, rank, False)
        for rank, t in _pointer_frames(frame_idx, num_frames, reverse, limit, valid)
        if t in usable
    ]
    return MemoryChoice(tuple(spatial), tuple(pointers))


def _slot_frame(
    frame_idx: int, steps_back: int, reverse: bool, stride: int, valid: list[int] | None
) -> int | None:
    """The frame of a spatial slot, ``steps_back`` slots before now; None where there is none."""
    if valid is not None:
        return valid[-steps_back] if steps_back <= len(valid) else None
    step = 1 if reverse else -1
    if steps_back == 1 or stride == 1:
        return frame_idx + step * steps_back
    # beyond the adjacent frame: multiples of the stride, so that frames keep their slots longer
    older = (steps_back - 2) * stride
    if reverse:
        return -(-(frame_idx + 2) // stride) * stride + older
    return (frame_idx - 2) // stride * stride - older


def _pointer_frames(
    frame_idx: int, num_frames: int, reverse: bool, limit: int, valid: list[int] | None
) -> Iterator[tuple[int, int]]:
    """(distance or rank, frame) of pointers to look for, the newest first."""
    if valid is not None:
        # the oldest valid frame is never reached, as released
        for rank in range(1, min(limit, len(valid))):
            yield rank, valid[-rank]
        return
    for distance in range(1, limit):
        t = frame_idx + distance if reverse else frame_idx - distance
        if not 0 <= t < num_frames:
            return
        yield distance, t

"""Removal of tracks that turn out to be false or double within their first frames.

Outputs are held back for ``delay`` frames, so a track removed in that time is never shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ...config.video import HotstartConfig
from .metadata import Rank0Metadata


def process_hotstart(
    notes: Rank0Metadata,
    rules: HotstartConfig,
    frame_idx: int,
    *,
    reverse: bool,
    new_ids: Iterable[int],
    det_to_ids: Mapping[int, Sequence[int]],
    unmatched_ids: Iterable[int],
    empty_ids: Iterable[int],
) -> set[int]:
    """Bring ``notes`` (changed in place: pass a copy) to this frame; ids to remove now.

    det_to_ids: detection -> tracks it overlaps. A counter can rise and fall on one frame: a track
    may overlap a detection without being matched by it.
    """
    unmatched_ids = [int(i) for i in unmatched_ids]
    _count(notes, rules, frame_idx, new_ids, det_to_ids, unmatched_ids, empty_ids)
    removed = _remove_unmatched(notes, rules, frame_idx, reverse)
    removed |= _remove_duplicates(notes, rules, frame_idx, reverse, det_to_ids, removed)
    notes.removed_obj_ids |= removed
    return removed


def _count(
    notes: Rank0Metadata,
    rules: HotstartConfig,
    frame_idx: int,
    new_ids: Iterable[int],
    det_to_ids: Mapping[int, Sequence[int]],
    unmatched_ids: Iterable[int],
    empty_ids: Iterable[int],
) -> None:
    """First frames, keep-alive counters and unmatched frames."""
    alive = notes.trk_keep_alive
    for obj_id in new_ids:
        notes.obj_first_frame_idx[int(obj_id)] = frame_idx
        alive[int(obj_id)] = rules.init_keep_alive

    def of(obj_id: int) -> int:
        return alive.get(obj_id, rules.init_keep_alive)

    for obj_id in sorted({int(i) for ids in det_to_ids.values() for i in ids}):
        alive[obj_id] = min(rules.max_keep_alive, of(obj_id) + 1)
    for obj_id in unmatched_ids:
        notes.add_unmatched(obj_id, frame_idx, rules.history)
        alive[obj_id] = max(rules.min_keep_alive, of(obj_id) - 1)
    for obj_id in map(int, empty_ids if rules.decrease_for_empty else ()):
        alive[obj_id] = max(rules.min_keep_alive, of(obj_id) - 1)


def _is_young(
    notes: Rank0Metadata, rules: HotstartConfig, obj_id: int, frame_idx: int, reverse: bool
) -> bool:
    """Whether the track began less than ``delay`` frames ago; clicked tracks never count."""
    first = notes.obj_first_frame_idx.get(obj_id)
    if first is None:
        return False
    return first < frame_idx + rules.delay if reverse else first > frame_idx - rules.delay


def _remove_unmatched(
    notes: Rank0Metadata, rules: HotstartConfig, frame_idx: int, reverse: bool
) -> set[int]:
    removed: set[int] = set()
    for obj_id, frames in notes.unmatched_frame_inds.items():
        if obj_id in notes.removed_obj_ids:
            continue
        young = _is_young(notes, rules, obj_id, frame_idx, reverse)
        if young and len(frames) >= rules.unmatch_thresh:
            removed.add(obj_id)
        elif not rules.suppress_unmatched_only_within and notes.trk_keep_alive.get(obj_id, 1) <= 0:
            notes.suppress(obj_id, frame_idx)
    return removed


def _remove_duplicates(
    notes: Rank0Metadata,
    rules: HotstartConfig,
    frame_idx: int,
    reverse: bool,
    det_to_ids: Mapping[int, Sequence[int]],
    removed_now: set[int],
) -> set[int]:
    """Of the tracks that one detection matches, all but the oldest are suspects."""
    for ids in det_to_ids.values():
        if len(ids) < 2:
            continue
        sign = -1 if reverse else 1
        first = min(ids, key=lambda i: sign * notes.obj_first_frame_idx.get(i, -sign * 2**31))
        for obj_id in ids:
            if obj_id != first:
                notes.add_overlap((int(first), int(obj_id)), frame_idx, rules.history)
    removed: set[int] = set()
    for (_, obj_id), frames in notes.overlap_pair_to_frame_inds.items():
        if obj_id in notes.removed_obj_ids or obj_id in removed_now:
            continue
        young = _is_young(notes, rules, obj_id, frame_idx, reverse)
        if young and len(frames) >= rules.dup_thresh:
            removed.add(obj_id)
    return removed

"""The plan of one frame: everything that is decided, before anything is done.

One process plans and the others are told (``TrackPlan`` holds plain numbers only), so that all of
them do the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ...config.video import VideoRules
from .associate import Association, associate, pairwise_iou
from .hotstart import process_hotstart
from .metadata import Rank0Metadata, TrackMetadata
from .records import Detections, TrackedMasks
from .suppress import away_from_border


@dataclass(frozen=True)
class TrackPlan:
    """What one frame brings.

    new_dets: detection rows that start tracks, with their ids and processes; high_conf: track ->
    its confident detection; num_dropped: detections left out because of the object limit.
    """

    new_dets: list[int] = field(default_factory=list)
    new_ids: list[int] = field(default_factory=list)
    new_gpus: list[int] = field(default_factory=list)
    unmatched_ids: list[int] = field(default_factory=list)
    det_to_ids: dict[int, list[int]] = field(default_factory=dict)
    high_conf: dict[int, int] = field(default_factory=dict)
    removed_ids: frozenset[int] = frozenset()
    num_dropped: int = 0
    num_obj_per_gpu: list[int] = field(default_factory=list)


def plan_frame(
    detections: Detections,
    tracked: TrackedMasks,
    metadata: TrackMetadata,
    rules: VideoRules,
    frame_idx: int,
    *,
    reverse: bool,
    limit_objects: bool = True,
) -> tuple[TrackPlan, Rank0Metadata]:
    """Decide what to do with a frame's detections and tracked masks.

    metadata: of the previous frame, unchanged. Returns the plan and the histories after it.
    """
    det_scores = detections.scores.detach().float().cpu().numpy()
    ious, has_pixels = pairwise_iou(detections.masks, tracked.low_res)
    found = associate(
        ious, det_scores, has_pixels, tracked.obj_ids, rules.association, rules.recondition
    )
    new_dets = found.new_dets
    if rules.detection.suppress_close_to_boundary and new_dets:
        inside = away_from_border(detections.boxes.detach().float().cpu().numpy())
        new_dets = [d for d in new_dets if inside[d]]
    num_new = len(new_dets)
    room = rules.object_limit - int(metadata.num_obj_per_gpu.sum())
    if limit_objects and num_new > room:
        new_dets = best_new(new_dets, det_scores, max(0, room))
    new_ids = [metadata.max_obj_id + 1 + k for k in range(len(new_dets))]
    new_gpus = assign_gpus(len(new_dets), metadata.num_obj_per_gpu)
    notes = metadata.rank0_metadata.copy()
    removed = _removals(found, notes, new_ids, rules, frame_idx, reverse)
    plan = TrackPlan(
        new_dets=new_dets,
        new_ids=new_ids,
        new_gpus=new_gpus,
        unmatched_ids=found.unmatched_ids,
        det_to_ids=found.det_to_ids,
        high_conf=found.high_conf,
        removed_ids=frozenset(removed),
        num_dropped=num_new - len(new_dets),
        num_obj_per_gpu=_loads(metadata, new_gpus, removed),
    )
    return plan, notes


def _removals(
    found: Association,
    notes: Rank0Metadata,
    new_ids: Sequence[int],
    rules: VideoRules,
    frame_idx: int,
    reverse: bool,
) -> set[int]:
    return process_hotstart(
        notes,
        rules.hotstart,
        frame_idx,
        reverse=reverse,
        new_ids=new_ids,
        det_to_ids=found.det_to_ids,
        unmatched_ids=found.unmatched_ids,
        empty_ids=found.empty_ids,
    )


def best_new(new_dets: Sequence[int], scores: np.ndarray, keep: int) -> list[int]:
    """The ``keep`` best of the rows ``new_dets``, best first (all of them in order if they fit)."""
    if len(new_dets) <= keep:
        return list(new_dets)
    rows = np.asarray(new_dets, np.int64)
    order = np.argsort(-np.asarray(scores)[rows], kind="stable")
    return rows[order[:keep]].tolist()


def assign_gpus(n: int, loads: Sequence[int] | np.ndarray) -> list[int]:
    """A process for each of ``n`` new tracks: always the least loaded, the lowest of equals."""
    counts = np.array(loads, np.int64)
    chosen = []
    for _ in range(n):
        gpu = int(counts.argmin())
        counts[gpu] += 1
        chosen.append(gpu)
    return chosen


def _loads(metadata: TrackMetadata, new_gpus: Sequence[int], removed: set[int]) -> list[int]:
    """Tracks per process after the frame."""
    gone = np.asarray(sorted(removed), np.int64)
    counts = [int((~np.isin(ids, gone)).sum()) for ids in metadata.obj_ids_per_gpu]
    for gpu in new_gpus:
        counts[gpu] += 1
    return counts

"""Detector and tracker together on one frame: the core of the video model.

Entry point :class:`Sam3VideoBase`. The steps live in ``sam3/model/video/``; this file says in which
order they run. SAM 3: Segment Anything with Concepts (https://arxiv.org/abs/2511.16719), section 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..config.video import VideoRules
from ..perflib.distributed import Collective, collective_for, world_from_env
from .video.apply import apply_plan, frame_masks
from .video.associate import associate, pairwise_iou
from .video.confirm import MaskletConfirmationStatus, update_confirmation
from .video.detect import detect, device_of
from .video.metadata import Rank0Metadata, TrackMetadata
from .video.plan import TrackPlan, plan_frame
from .video.recondition import drifted_tracks, is_due, recondition
from .video.records import Detections, FrameInputs, FrameMasks, FrameStats, TrackedMasks
from .video.track import gather_tracks, hide_occluded, propagate_states, update_memories

__all__ = ["FrameResult", "MaskletConfirmationStatus", "Sam3VideoBase"]

REMOVED_SCORE = -1e4
"""Score of an object that hotstart removed."""


@dataclass
class FrameResult:
    """What one frame leaves: masks at video size, the session's next states and metadata."""

    masks: FrameMasks
    states: list[Any]
    metadata: TrackMetadata
    stats: FrameStats


class Sam3VideoBase(nn.Module):
    """``detector`` (``Sam3ImageOnVideoMultiGPU``), ``tracker`` (``Sam3TrackerPredictor``), rules.

    Keywords are the published ones (``sam3.config.video.CLASS_DEFAULTS`` lists them with their
    defaults); ``rules`` holds them as a typed record. RANK and WORLD_SIZE of the environment say
    which process this is; objects are shared out over the processes. The module holds no session.

    Raises ValueError for rules that contradict each other, TypeError for unknown keywords.
    """

    def __init__(self, detector: nn.Module, tracker: nn.Module, **keywords: Any) -> None:
        super().__init__()
        self.detector = detector
        self.tracker = tracker
        self.rules = VideoRules.from_keywords(keywords)
        self.rank, self.world_size = world_from_env()
        self._collective: Collective | None = None

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return device_of(self)

    @property
    def collective(self) -> Collective:
        """How the processes talk; made at first use, when their group has been set up."""
        if self._collective is None:
            self._collective = collective_for(self.world_size)
        return self._collective

    def back_convert(self, targets: Any) -> Any:
        """Targets for a loss, as the trainer asks for them: unchanged, no loss reads a video's."""
        return targets

    def _det_track_one_frame(
        self, inputs: FrameInputs, states: list[Any], metadata: TrackMetadata
    ) -> FrameResult:
        """Detect, track, plan, carry out.

        states: of this process's objects, changed in place; metadata: of the frame before, left as
        it is. New lists come back in the result.
        """
        rules, frame_idx = self.rules, inputs.frame_idx
        detections = detect(self.detector, self.tracker, inputs, rules.detection)
        local = propagate_states(
            self.tracker,
            states,
            frame_idx,
            reverse=inputs.reverse,
            fill_hole_area=rules.fill_hole_area,
        )
        tracked = gather_tracks(local, metadata, self.collective)
        plan, notes = self._plan(inputs, detections, tracked, metadata)
        drifted = drifted_tracks(detections, tracked, plan.high_conf, rules.recondition)
        if is_due(frame_idx, plan.high_conf, drifted, rules.recondition):
            recondition(self.tracker, states, detections, tracked, plan.high_conf, frame_idx)
        last_occluded = metadata.obj_id_to_last_occluded
        if len(tracked) and rules.recent_occlusion_threshold > 0:
            tracked, last_occluded = hide_occluded(
                tracked,
                metadata,
                frame_idx,
                rules.recent_occlusion_threshold,
                removed=plan.removed_ids,
                reverse=inputs.reverse,
            )
        update_memories(self.tracker, states, tracked, frame_idx)
        after = self._next_metadata(
            metadata, notes, plan, detections, tracked, last_occluded, frame_idx
        )
        states = apply_plan(self.tracker, states, detections, plan, inputs, self.rank)
        masks = frame_masks(
            detections, tracked, plan, drifted, inputs.video_size, rules.fill_hole_area
        )
        stats = FrameStats(int(after.num_obj_per_gpu.sum()), plan.num_dropped)
        return FrameResult(masks, states, after, stats)

    def _plan(
        self,
        inputs: FrameInputs,
        detections: Detections,
        tracked: TrackedMasks,
        metadata: TrackMetadata,
    ) -> tuple[TrackPlan, Rank0Metadata]:
        """The plan, made by process 0, and the histories (only process 0 writes to them)."""
        notes = metadata.rank0_metadata.copy()

        def make() -> TrackPlan:
            nonlocal notes
            plan, notes = plan_frame(
                detections,
                tracked,
                metadata,
                self.rules,
                inputs.frame_idx,
                reverse=inputs.reverse,
                limit_objects=inputs.limit_objects,
            )
            return plan

        return self.collective.broadcast(make), notes

    def _next_metadata(
        self,
        metadata: TrackMetadata,
        notes: Rank0Metadata,
        plan: TrackPlan,
        detections: Detections,
        tracked: TrackedMasks,
        last_occluded: dict[int, Tensor],
        frame_idx: int,
    ) -> TrackMetadata:
        after = metadata.copy()
        after.rank0_metadata = notes
        after.add_ids(plan.new_ids, plan.new_gpus)
        after.drop_ids(plan.removed_ids)
        if after.num_obj_per_gpu.tolist() != plan.num_obj_per_gpu:
            raise RuntimeError(
                f"process {self.rank} counts {after.num_obj_per_gpu.tolist()} objects per process,"
                f" the plan {plan.num_obj_per_gpu}: the processes no longer agree; restart them"
            )
        scores = detections.scores[plan.new_dets].tolist()
        created = dict(zip(plan.new_ids, scores, strict=True))
        removed = dict.fromkeys(plan.removed_ids, REMOVED_SCORE)
        after.obj_id_to_score.update(created | removed)
        after.obj_id_to_last_occluded = {
            i: t for i, t in last_occluded.items() if i not in plan.removed_ids
        }
        probs = tracked.scores.float().sigmoid().tolist()
        tracker_scores = {int(i): p for i, p in zip(tracked.obj_ids, probs, strict=True)}
        after.set_frame_scores(frame_idx, created | removed | tracker_scores)
        before = metadata.rank0_metadata.masklet_confirmation
        if before is not None:
            notes.masklet_confirmation = update_confirmation(
                before,
                metadata.obj_ids_all_gpu,
                after.obj_ids_all_gpu,
                plan.new_ids,
                plan.det_to_ids,
                self.rules.confirmation.consecutive_det_thresh,
            )
        return after

    def _associate_det_trk(
        self, det_masks: Tensor, det_scores: Any, trk_masks: Tensor, trk_obj_ids: Any
    ) -> tuple[list[int], list[int], dict[int, list[int]], dict[int, int], list[int]]:
        """Match detections [D, h, w] and tracks [N, h', w'] (logits) by the rules of this model.

        det_scores: [D] in 0..1; trk_obj_ids: [N]. Returns new detections, unmatched ids, detection
        -> overlapped ids, id -> confident detection, ids without a pixel (``video.associate``).
        """
        ious, has_pixels = pairwise_iou(det_masks, trk_masks)
        scores = torch.as_tensor(det_scores, dtype=torch.float32).cpu().numpy()
        ids = np.asarray(trk_obj_ids, np.int64)
        rules = self.rules
        found = associate(ious, scores, has_pixels, ids, rules.association, rules.recondition)
        return (
            found.new_dets,
            found.unmatched_ids,
            found.det_to_ids,
            found.high_conf,
            found.empty_ids,
        )

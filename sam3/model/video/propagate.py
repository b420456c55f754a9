"""Propagation over the frames of a session: in full, for clicked objects only, or fetched.

Each generator yields (frame index, public outputs or None); processes other than 0 yield None.
A session keeps every frame it finished, so a generator can be closed at any time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ...errors import SessionError
from .confirm import unconfirmed_ids
from .detect import detect
from .masks import resize_to_bool
from .outputs import CachedFrame, Outputs, postprocess
from .records import FrameMasks, FrameStats
from .session import VideoSession
from .track import propagate_states

if TYPE_CHECKING:
    from ..sam3_video_inference import Sam3VideoInference

Step = tuple[int, "Outputs | None"]


def processing_order(
    session: VideoSession, start_frame_idx: int | None, max_frames: int | None, reverse: bool
) -> range:
    """Frames to run, in order. Backward, the first is the one *before* the start.

    SessionError (a RuntimeError) without a start when there are no results to start from.
    """
    n = session.num_frames
    if start_frame_idx is None:
        if not session.cached_frame_outputs:
            raise SessionError(
                "nothing to propagate: give a prompt first (add_prompt), or say where to start"
            )
        start_frame_idx = min(session.cached_frame_outputs)
    start = session.check_frame(start_frame_idx)
    if max_frames is not None and max_frames < 0:
        raise SessionError(f"max_frame_num_to_track must be 0 or more, got {max_frames}")
    reach = n if max_frames is None else max_frames
    if reverse:
        return range(start - 1, max(start - reach, 0) - 1, -1)
    return range(start, min(start + reach, n - 1) + 1)


@dataclass
class PendingFrame:
    """A frame that has been run and not been shown yet."""

    frame_idx: int
    stats: FrameStats
    scores: dict[int, float]


@dataclass
class HotstartBuffer:
    """Holds results back so that objects removed or not confirmed in time are never shown."""

    model: Sam3VideoInference
    session: VideoSession
    reverse: bool
    pending: deque[PendingFrame] = field(default_factory=deque)
    unconfirmed: dict[int, set[int]] = field(default_factory=dict)

    def add(self, frame: PendingFrame) -> None:
        """Take the frame that was just run."""
        metadata = self.session.tracker_metadata
        self.pending.append(frame)
        self.unconfirmed[frame.frame_idx] = unconfirmed_ids(
            metadata.rank0_metadata.masklet_confirmation, metadata.obj_ids_all_gpu
        )

    def ready(self, *, last: bool) -> Iterator[Step]:
        """Frames that can be shown now; all of them after the last one."""
        delay = self.model.rules.hotstart.delay
        while self.pending and (last or len(self.pending) >= delay):
            yield self._show(self.pending.popleft())

    def _show(self, frame: PendingFrame) -> Step:
        session, t = self.session, frame.frame_idx
        notes = session.tracker_metadata.rank0_metadata
        hidden = set(notes.suppressed_obj_ids.get(t, ()))
        if self.model.rules.hotstart.delay > 0:
            hidden |= notes.removed_obj_ids
        hidden |= self.unconfirmed.get(self._confirmed_at(t), set())
        self.unconfirmed.pop(t, None)  # later frames look ahead only
        cached = session.cached_frame_outputs[t]
        session.cached_frame_outputs[t] = cached.without(hidden)
        if self.model.rank != 0:
            return t, None
        size, table = session.video_size, session.score_table(t)
        return t, postprocess(cached, hidden, frame.scores, table, size, frame.stats)

    def _confirmed_at(self, frame_idx: int) -> int:
        """Frame on which an object first seen on ``frame_idx`` can be confirmed."""
        wait = self.model.rules.confirmation.consecutive_det_thresh - 1
        later = frame_idx + (-wait if self.reverse else wait)
        return min(max(later, 0), self.session.num_frames - 1)


def run_frame(
    model: Sam3VideoInference, session: VideoSession, frame_idx: int, reverse: bool
) -> PendingFrame:
    """Run one frame and keep its masks, unfiltered; the session moves on only if it succeeds."""
    result = model._det_track_one_frame(
        session.frame_inputs(frame_idx, reverse),
        session.tracker_inference_states,
        session.tracker_metadata,
    )
    session.tracker_inference_states = result.states
    session.tracker_metadata = result.metadata
    session.cached_frame_outputs[frame_idx] = CachedFrame.pack(result.masks)
    scores = result.metadata.obj_id_to_score
    ids = [int(i) for i in session.cached_frame_outputs[frame_idx]]
    return PendingFrame(frame_idx, result.stats, {i: scores[i] for i in ids})


def propagate_full(
    model: Sam3VideoInference, session: VideoSession, order: range, reverse: bool
) -> Iterator[Step]:
    """Detect and track on every frame of ``order``."""
    buffer = HotstartBuffer(model, session, reverse)
    for frame_idx in order:
        buffer.add(run_frame(model, session, frame_idx, reverse))
        yield from buffer.ready(last=frame_idx == order[-1])


def propagate_fetch(
    model: Sam3VideoInference, session: VideoSession, order: range
) -> Iterator[Step]:
    """The kept masks of every frame of ``order``; none on frames that were never run."""
    for frame_idx in order:
        cached = session.cached_frame_outputs.get(frame_idx, CachedFrame({}))
        yield frame_idx, show(model, session, frame_idx, cached)


def propagate_partial(
    model: Sam3VideoInference,
    session: VideoSession,
    order: range,
    reverse: bool,
    obj_ids: list[int],
) -> Iterator[Step]:
    """Track the clicked objects and put their masks in place of the kept ones.

    SessionError for a frame that detection has not been over yet.
    """
    wanted = set(obj_ids)
    states = [s for s in session.tracker_inference_states if wanted & set(s["obj_ids"])]
    for state in states:
        model.tracker.propagate_in_video_preflight(state, run_mem_encoder=True)
    for frame_idx in order:
        if session.detects and frame_idx not in session.cached_frame_outputs:
            raise SessionError(
                f"frame {frame_idx} has no results yet; propagate over the whole video before"
                " refining objects"
            )
        inputs = session.frame_inputs(frame_idx, reverse)
        detect(model.detector, model.tracker, inputs, model.rules.detection)
        masks = _track_clicked(model, session, states, wanted, frame_idx, reverse)
        cached = session.cached_frame_outputs.get(frame_idx, CachedFrame({})).with_masks(masks)
        hidden = suppressed(session, frame_idx)
        session.cached_frame_outputs[frame_idx] = cached.without(hidden)
        yield frame_idx, show(model, session, frame_idx, cached)


def _track_clicked(
    model: Sam3VideoInference,
    session: VideoSession,
    states: list,
    wanted: set[int],
    frame_idx: int,
    reverse: bool,
) -> FrameMasks:
    """Masks of the wanted objects at video size, from all processes; their scores are kept."""
    tracked = propagate_states(
        model.tracker,
        states,
        frame_idx,
        reverse=reverse,
        run_mem_encoder=True,
        fill_hole_area=model.rules.fill_hole_area,
    )
    rows = [row for row, i in enumerate(tracked.obj_ids) if int(i) in wanted]
    ids, low_res, scores = tracked.obj_ids[rows], tracked.low_res[rows], tracked.scores[rows]
    if model.world_size > 1:
        per_gpu = session.tracker_metadata.obj_ids_per_gpu
        counts = [int(np.isin(on_gpu, list(wanted)).sum()) for on_gpu in per_gpu]
        numbers = low_res.new_tensor(ids.tolist(), dtype=low_res.dtype)
        ids = model.collective.gather_rows(numbers, counts).cpu().numpy().astype(np.int64)
        low_res = model.collective.gather_rows(low_res.contiguous(), counts)
        scores = model.collective.gather_rows(scores.contiguous(), counts)
    obj_ids = [int(i) for i in ids]
    table = dict(zip(obj_ids, scores.tolist(), strict=True))
    metadata = session.tracker_metadata.copy()
    metadata.set_frame_scores(frame_idx, table)
    session.tracker_metadata = metadata
    return FrameMasks(obj_ids, resize_to_bool(low_res, session.video_size)[:, None])


def suppressed(session: VideoSession, frame_idx: int) -> set[int]:
    """Ids hidden on a frame."""
    notes = session.tracker_metadata.rank0_metadata
    return set(notes.suppressed_obj_ids.get(frame_idx, ()))


def show(
    model: Sam3VideoInference,
    session: VideoSession,
    frame_idx: int,
    cached: CachedFrame,
    stats: FrameStats | None = None,
    *,
    hide: bool = True,
) -> Outputs | None:
    """Public outputs of a frame, with its suppressed objects hidden; None but in process 0."""
    if model.rank != 0:
        return None
    hidden = suppressed(session, frame_idx) if hide else set()
    scores = session.tracker_metadata.obj_id_to_score
    return postprocess(
        cached, hidden, scores, session.score_table(frame_idx), session.video_size, stats
    )

"""Segment objects in a video from points, boxes and masks: the tracker's front door.

    tracker = build_tracker(apply_temporal_disambiguation=False, with_backbone=True)
    state = tracker.init_state(video_path="frames/")
    tracker.add_new_points_or_box(state, 0, obj_id=1, points=[[0.4, 0.5]], labels=[1])
    tracker.propagate_in_video_preflight(state)
    for frame_idx, obj_ids, low, masks, scores in tracker.propagate_in_video(
        state, start_frame_idx=0, max_frame_num_to_track=None, reverse=False
    ):
        ...

The predictor holds no session: states can be used side by side. Precision is the caller's choice
(an autocast block around the calls, or the weights' dtype); nothing here switches it. What the
calls do lives in the rooms ``model/tracker/``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .sam3_tracker_base import Sam3TrackerBase
from .tracker import consolidate, inputs, overlap, prompting, propagate, removal, single_frame
from .tracker.options import KeepOutputs, TrackerOptions
from .tracker.sessions import open_session
from .tracker.state import FrameOutput, InferenceState

PointsResult = tuple[int, list[int], None, Tensor]


class Sam3TrackerPredictor(Sam3TrackerBase):
    """A tracker with sessions.

    The first six keywords are explained at :class:`TrackerOptions`, as are
    ``add_all_frames_to_correct_as_cond``, ``iter_use_prev_mask_pred`` and ``keep_outputs``; the
    rest are those of :class:`Sam3TrackerBase`.
    """

    def __init__(
        self,
        clear_non_cond_mem_around_input: bool = False,
        clear_non_cond_mem_for_multi_obj: bool = False,
        fill_hole_area: int = 0,
        always_start_from_first_ann_frame: bool = False,
        max_point_num_in_prompt_enc: int = 16,
        non_overlap_masks_for_output: bool = True,
        add_all_frames_to_correct_as_cond: bool = True,
        iter_use_prev_mask_pred: bool = True,
        keep_outputs: KeepOutputs = "masks",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.options = TrackerOptions(
            clear_non_cond_mem_around_input,
            clear_non_cond_mem_for_multi_obj,
            fill_hole_area,
            always_start_from_first_ann_frame,
            max_point_num_in_prompt_enc,
            non_overlap_masks_for_output,
            add_all_frames_to_correct_as_cond,
            iter_use_prev_mask_pred,
            keep_outputs,
        )

    # ---- sessions ---------------------------------------------------------------------------

    @torch.no_grad()
    def init_state(
        self,
        video_height: int | None = None,
        video_width: int | None = None,
        num_frames: int | None = None,
        video_path: Any = None,
        cached_features: dict[int, Any] | None = None,
        offload_video_to_cpu: bool = False,
        offload_state_to_cpu: bool = False,
        async_loading_frames: bool = False,
    ) -> InferenceState:
        """A new session on a video, given as a path or as features with the video's size.

        Args:
            video_height, video_width, num_frames: needed without ``video_path``.
            video_path: folder of JPEG frames or MP4 file; needs a ``backbone``.
            cached_features: frame -> (image, backbone output); shared, frames may be added later.
            offload_video_to_cpu: keep the frames in CPU memory.
            offload_state_to_cpu: keep memory features and masks in CPU memory.
            async_loading_frames: load the frames after the first in the background.

        Raises:
            InputError: neither a video nor its size and length, or sizes below 1.
        """
        return open_session(
            next(self.parameters()).device,
            self.image_size,
            video_path=video_path,
            video_height=video_height,
            video_width=video_width,
            num_frames=num_frames,
            cached_features=cached_features,
            offload_video_to_cpu=offload_video_to_cpu,
            offload_state_to_cpu=offload_state_to_cpu,
            async_loading_frames=async_loading_frames,
        )

    def reset(self, inference_state: InferenceState) -> None:
        """Back to a session without objects; the video and its cached features stay."""
        self.clear_all_points_in_video(inference_state)

    # ---- prompts ----------------------------------------------------------------------------

    @torch.no_grad()
    def add_new_points_or_box(
        self,
        inference_state: InferenceState,
        frame_idx: int,
        obj_id: int,
        points: Any = None,
        labels: Any = None,
        clear_old_points: bool = True,
        rel_coordinates: bool = True,
        use_prev_mem_frame: bool = False,
        normalize_coords: bool = True,
        box: Any = None,
    ) -> PointsResult:
        """Points and/or a box on one object in one frame; a mask it had there is dropped.

        Args:
            points: ``[P, 2]`` (x, y); labels: ``[P]``, 1 on the object and 0 not on it.
            clear_old_points: replace the object's points on this frame, or add to them.
            rel_coordinates: values are fractions of the picture; else pixels of the model's
                square input.
            use_prev_mem_frame: on a tracked frame, look at the object's memory too.
            normalize_coords: accepted for compatibility, without effect.
            box: ``[4]`` (x0, y0, x1, y1).

        Returns:
            ``(frame_idx, obj_ids, None, masks)``, logits ``[N, 1, H, W]`` of all objects (-1024
            where an object has no output on this frame).

        Raises:
            InputError: see :func:`parse_points_and_box`; a frame outside the video.
            SessionError: a new object after tracking has started.
        """
        state = inference_state
        frame_idx = state.check_frame(frame_idx)
        parsed = inputs.parse_points_and_box(
            points, labels, box, clear_old_points=clear_old_points,
            rel_coordinates=rel_coordinates, image_size=self.image_size, device=state.device,
        )  # fmt: skip
        prompting.prompt_points(
            self, self.options, state, frame_idx, obj_id, parsed,
            clear_old_points=clear_old_points, use_prev_mem_frame=use_prev_mem_frame,
        )  # fmt: skip
        return self._result(state, frame_idx)

    add_new_points = add_new_points_or_box

    @torch.no_grad()
    def add_new_mask(
        self,
        inference_state: InferenceState,
        frame_idx: int,
        obj_id: int,
        mask: Any,
        add_mask_to_memory: bool = False,
    ) -> PointsResult:
        """A mask of one object in one frame; points it had there are dropped.

        Args:
            mask: ``[h, w]`` bool or 0..1, of any size: it is stretched to the whole picture.
            add_mask_to_memory: accepted for compatibility, without effect.

        Returns and raises: as :meth:`add_new_points_or_box`.
        """
        frame_idx = inference_state.check_frame(frame_idx)
        parsed = inputs.parse_mask(mask)
        prompting.prompt_mask(self, self.options, inference_state, frame_idx, obj_id, parsed)
        return self._result(inference_state, frame_idx)

    # ---- tracking ---------------------------------------------------------------------------

    @torch.no_grad()
    def propagate_in_video_preflight(
        self, inference_state: InferenceState, run_mem_encoder: bool = True
    ) -> None:
        """Turn all inputs into memory; needed after prompts and before propagation.

        Raises:
            SessionError: the session has no inputs.
        """
        propagate.preflight(self, self.options, inference_state, run_mem_encoder)

    @torch.no_grad()
    def propagate_in_video(
        self,
        inference_state: InferenceState,
        start_frame_idx: int | None,
        max_frame_num_to_track: int | None,
        reverse: bool,
        tqdm_disable: bool = False,
        obj_ids: list[int] | None = None,
        run_mem_encoder: bool = True,
        propagate_preflight: bool = False,
    ) -> Iterator[tuple[int, list[int], Tensor, Tensor, Tensor]]:
        """Track all objects through the video; a generator, which may be closed at any frame.

        Args:
            start_frame_idx: first frame; None: the earliest one with inputs.
            max_frame_num_to_track: so many frames beyond the first; None: to the end.
            reverse: towards frame 0.
            run_mem_encoder: False leaves the tracked frames without spatial memory.
            propagate_preflight: call :meth:`propagate_in_video_preflight` first.

        Yields:
            ``(frame_idx, obj_ids, low_res_masks, video_res_masks, obj_scores)``: logits
            ``[N, 1, 288, 288]``, ``[N, 1, H, W]`` and ``[N, 1]``.

        Raises:
            UnsupportedInputError: ``obj_ids`` given.
            SessionError: no inputs, or none that went through the preflight.
            InputError: a start outside the video, or a negative number of frames.
        """
        state, options = inference_state, self.options
        propagate.check_request(state, start_frame_idx, max_frame_num_to_track, obj_ids)
        if propagate_preflight:
            propagate.preflight(self, options, state, run_mem_encoder)
        order = propagate.plan(state, options, start_frame_idx, max_frame_num_to_track, reverse)
        frames = order if tqdm_disable else _with_progress(order)
        yield from propagate.propagate(self, options, state, frames, reverse, run_mem_encoder)

    # ---- taking back ------------------------------------------------------------------------

    @torch.no_grad()
    def clear_all_points_in_frame(
        self,
        inference_state: InferenceState,
        frame_idx: int,
        obj_id: int,
        need_output: bool = True,
    ) -> PointsResult | None:
        """Drop one object's points and mask on a frame.

        Returns: as :meth:`add_new_points_or_box`, or None without ``need_output``.

        Raises:
            InputError: a frame outside the video. SessionError: an unknown object.
        """
        frame_idx = inference_state.check_frame(frame_idx)
        removal.clear_points(inference_state, frame_idx, inference_state.object_index(obj_id))
        return self._result(inference_state, frame_idx) if need_output else None

    def clear_all_points_in_video(self, inference_state: InferenceState) -> None:
        """Forget all inputs, results and objects."""
        inference_state.drop_objects()

    @torch.no_grad()
    def remove_object(
        self,
        inference_state: InferenceState,
        obj_id: int,
        strict: bool = False,
        need_output: bool = True,
    ) -> tuple[list[int], list[tuple[int, Tensor]]]:
        """Take an object out of the session, also while tracking.

        Returns:
            The ids that are left, and (frame, masks ``[N, 1, H, W]``) of the frames where the
            object had inputs (none without ``need_output``). An unknown id changes nothing.

        Raises:
            SessionError: an unknown id, with ``strict``.
        """
        state = inference_state
        if obj_id not in state.obj_id_to_idx and not strict:
            return list(state.obj_ids), []
        idx = state.object_index(obj_id)
        if len(state.obj_ids) == 1:
            self.clear_all_points_in_video(state)
            return [], []
        touched = removal.input_frames_of(state, idx)
        for frame_idx in touched:
            removal.clear_points(state, frame_idx, idx)
        removal.remove_rows(state, idx)
        if not need_output:
            return list(state.obj_ids), []
        return list(state.obj_ids), [(t, self._result(state, t)[3]) for t in touched]

    # ---- what the video model uses ----------------------------------------------------------

    def _obj_id_to_idx(self, inference_state: InferenceState, obj_id: int) -> int:
        return inference_state.object_index(obj_id)

    def _run_memory_encoder(
        self,
        inference_state: InferenceState,
        frame_idx: int,
        batch_size: int,
        high_res_masks: Tensor,
        object_score_logits: Tensor,
        is_mask_from_pts: bool,
    ) -> tuple[Tensor | None, list[Tensor] | None]:
        """Memory of given masks: see :func:`encode_memory`."""
        return single_frame.encode_memory(
            self, inference_state, frame_idx, batch_size, high_res_masks, object_score_logits,
            is_mask_from_pts,
        )  # fmt: skip

    def _add_output_per_object(
        self,
        inference_state: InferenceState,
        frame_idx: int,
        current_out: FrameOutput,
        storage_key: str,
    ) -> None:
        """Objects' outputs are views of the packed ones, so only a hidden frame comes back."""
        inference_state.hidden_frames.discard(frame_idx)

    _suppress_shrinked_masks = staticmethod(overlap.suppress_shrinked_masks)
    _suppress_object_pw_area_shrinkage = staticmethod(overlap.suppress_object_area_shrinkage)
    _apply_object_wise_non_overlapping_constraints = staticmethod(
        overlap.apply_object_wise_non_overlapping
    )

    # ---- inside -----------------------------------------------------------------------------

    def _result(self, state: InferenceState, frame_idx: int) -> PointsResult:
        masks = consolidate.displayed_masks(self, self.options, state, frame_idx)
        return frame_idx, list(state.obj_ids), None, masks


def _with_progress(frames: range) -> Iterator[int]:
    """The frames, with a progress bar on stderr."""
    from tqdm.auto import tqdm

    return iter(tqdm(frames, desc="propagate in video"))

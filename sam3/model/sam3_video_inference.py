"""Video sessions: open a video, give prompts, propagate, correct by clicks.

    state = model.init_state(resource_path="clip.mp4")
    model.add_prompt(state, frame_idx=0, text_str="red car")
    for frame_idx, outputs in model.propagate_in_video(state):
        outputs["out_binary_masks"]

Front doors over ``sam3/model/video/``. The model holds no session, so sessions can be used side by
side.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from ..errors import InputError, SessionError
from .data_misc import BatchedDatapoint
from .io_utils import is_single_picture, load_resource_as_video_frames
from .sam3_video_base import Sam3VideoBase
from .video.actions import Action, ActionType, next_propagation
from .video.apply import end_tracks
from .video.clicks import add_clicks, check_click
from .video.evaluate import evaluate_video
from .video.metadata import TrackMetadata
from .video.outputs import Outputs
from .video.prompting import click_prompt, detection_prompt
from .video.propagate import (
    Step,
    processing_order,
    propagate_fetch,
    propagate_full,
    propagate_partial,
    run_frame,
    show,
)
from .video.session import TEXT_ID, VISUAL_ID, VideoSession, new_session

__all__ = ["Sam3VideoInference", "Sam3VideoInferenceWithInstanceInteractivity"]


class Sam3VideoInference(Sam3VideoBase):
    """Sessions with phrases and boxes. image_size: side that frames are resized to."""

    def __init__(
        self,
        detector: nn.Module,
        tracker: nn.Module,
        image_size: int = 1008,
        image_mean: tuple[float, float, float] = (0.5, 0.5, 0.5),
        image_std: tuple[float, float, float] = (0.5, 0.5, 0.5),
        compile_model: bool = False,
        **keywords: Any,
    ) -> None:
        super().__init__(detector, tracker, **keywords)
        self.image_size = image_size
        self.image_mean = tuple(image_mean)
        self.image_std = tuple(image_std)
        self.compile_model = compile_model
        self.eval()

    @torch.inference_mode()
    def init_state(
        self,
        resource_path: Any,
        offload_video_to_cpu: bool = False,
        async_loading_frames: bool = False,
        video_loader_type: str = "cv2",
    ) -> VideoSession:
        """Open a video, an image folder, a list of PIL pictures or one picture.

        offload_video_to_cpu: keep the frames off the model's device. async_loading_frames: read
        the first frame now and the rest in the background. video_loader_type: "cv2" or
        "torchcodec". Errors: those of ``sam3.model.io_utils.load_resource_as_video_frames``.
        """
        frames, height, width = load_resource_as_video_frames(
            resource_path=resource_path,
            image_size=self.image_size,
            offload_video_to_cpu=offload_video_to_cpu,
            img_mean=self.image_mean,
            img_std=self.image_std,
            async_loading_frames=async_loading_frames,
            video_loader_type=video_loader_type,
            device=self.device,
        )
        return new_session(
            frames,
            (height, width),
            self.image_size,
            self.device,
            self._empty_metadata(),
            is_image_only=is_single_picture(resource_path),
        )

    def reset_state(self, inference_state: VideoSession) -> None:
        """Forget all prompts and results; the video stays open."""
        inference_state.clear(self._empty_metadata())

    @torch.inference_mode()
    def add_prompt(
        self,
        inference_state: VideoSession,
        frame_idx: int,
        text_str: str | None = None,
        boxes_xywh: Any = None,
        box_labels: Any = None,
    ) -> tuple[int, Outputs | None]:
        """Start over with a phrase, a box, or both, on one frame, and run that frame.

        boxes_xywh: one box [1, 4], parts of width and height; box_labels: [1], 1 or 0. Earlier
        prompts and results of the session are dropped. Returns (frame index, outputs); see
        ``video.outputs.postprocess``.

        Raises InputError for a missing or malformed prompt or frame, SessionError for more than
        one box; the session is then as before.
        """
        frame = inference_state.check_frame(frame_idx)
        prompt = detection_prompt(text_str, boxes_xywh, box_labels)
        state = inference_state
        state.input_batch.img_batch[frame]  # one that cannot be read fails here, before the reset
        self.reset_state(state)
        state.text_prompt = prompt.text
        if prompt.text is None:
            state.input_batch.find_inputs.text_id = VISUAL_ID  # type: ignore[attr-defined]
        else:
            state.input_batch.find_text_batch[TEXT_ID] = prompt.text
        if prompt.box is not None:
            state.per_frame_raw_box_input[frame] = (prompt.box, prompt.label)
            state.per_frame_geometric_prompt[frame] = prompt.geometric(self.device)
            state.per_frame_visual_prompt[frame] = state.per_frame_geometric_prompt[frame]
        pending = run_frame(self, state, frame, reverse=False)
        cached = state.cached_frame_outputs[frame]
        return frame, show(self, state, frame, cached, pending.stats, hide=False)

    @torch.inference_mode()
    def propagate_in_video(
        self,
        inference_state: VideoSession,
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
        reverse: bool = False,
    ) -> Iterator[Step]:
        """Detect and track over the video; yields (frame index, outputs) in order.

        start_frame_idx: by default the first frame with results. Forward it runs the start again
        and ``max_frame_num_to_track`` frames after it, backward the frames before it. With hotstart
        the outputs come that many frames later. Raises SessionError without results and start.
        """
        order = processing_order(inference_state, start_frame_idx, max_frame_num_to_track, reverse)
        self._bound(inference_state, start_frame_idx, max_frame_num_to_track)
        yield from self._watched(
            inference_state, propagate_full(self, inference_state, order, reverse)
        )

    def forward(self, input: BatchedDatapoint) -> dict[int, dict[str, Any]]:
        """Evaluate a batch that holds one video; see ``video.evaluate.evaluate_video``.

        img_batch: [T, 3, S, S] frames; the size of the results is ``original_size`` of the first
        frame's metadata.
        """
        size = input.find_metadatas[0].original_size[0].tolist() if input.find_metadatas else (1, 1)
        state = new_session(
            input.img_batch,
            (size[0], size[1]),
            self.image_size,
            self.device,
            self._empty_metadata(),
            is_image_only=len(input.img_batch) == 1,
        )

        def run_phrase(text: str) -> Iterator[Step]:
            self.reset_state(state)
            self.add_prompt(state, 0, text_str=text)
            yield from self.propagate_in_video(state, start_frame_idx=0)

        return evaluate_video(input, run_phrase, state.score_table)

    # ---- helpers ----------------------------------------------------------------------------

    def _empty_metadata(self) -> TrackMetadata:
        return TrackMetadata.empty(self.world_size, confirmation=self.rules.confirmation.enable)

    @staticmethod
    def _bound(state: VideoSession, start: int | None, most: int | None) -> None:
        state.feature_cache["tracking_bounds"] = {
            "max_frame_num_to_track": most,
            "propagate_in_video_start_frame_idx": start,
        }

    @staticmethod
    def _watched(state: VideoSession, steps: Iterator[Step]) -> Iterator[Step]:
        """The steps, until the session is reset or another propagation takes over."""
        state.epoch += 1
        epoch = state.epoch
        for step in steps:
            yield step
            if state.epoch != epoch:
                raise SessionError(
                    "the session was reset, or another propagation was started, while this one was"
                    " running; start it again"
                )


class Sam3VideoInferenceWithInstanceInteractivity(Sam3VideoInference):
    """Adds clicks on objects; propagation then runs only for what the clicks changed."""

    @torch.inference_mode()
    def add_prompt(  # type: ignore[override]
        self,
        inference_state: VideoSession,
        frame_idx: int,
        text_str: str | None = None,
        boxes_xywh: Any = None,
        box_labels: Any = None,
        points: Any = None,
        point_labels: Any = None,
        obj_id: int | None = None,
        rel_coordinates: bool = True,
    ) -> tuple[int, Outputs | None]:
        """A phrase or box (see the parent), or clicks on one object of a frame.

        points: [P, 2] as parts of width and height (pixels of the model's input without
        ``rel_coordinates``); point_labels: [P], 1 on the object, 0 not on it; a box stands before
        the points as its corners, labels 2 and 3; obj_id: a tracked object, or a new number. Clicks
        need a frame that has been run, unless the session has no phrase and no box.

        Raises InputError or SessionError with the session as before.
        """
        if points is None and point_labels is None:
            return super().add_prompt(inference_state, frame_idx, text_str, boxes_xywh, box_labels)
        if text_str is not None or boxes_xywh is not None:
            raise InputError("points go without a phrase and without boxes; give them one by one")
        frame = inference_state.check_frame(frame_idx)
        side = getattr(self.tracker, "image_size", self.image_size)
        click = click_prompt(points, point_labels, obj_id, rel_coordinates, side)
        check_click(self, inference_state, frame, click.obj_id)
        add_clicks(self, inference_state, frame, click)
        cached = inference_state.cached_frame_outputs[frame]
        return frame, show(self, inference_state, frame, cached)

    @torch.inference_mode()
    def remove_object(
        self, inference_state: VideoSession, obj_id: int, is_user_action: bool = False
    ) -> None:
        """Drop an object and its masks on every frame. SessionError for an unknown id.

        is_user_action: note it in the history, which decides how the next propagation runs.
        """
        state = inference_state
        if not state.tracker_metadata.has(obj_id):
            raise SessionError(
                f"object id {obj_id} is not tracked in this session; tracked are"
                f" {sorted(state.tracker_metadata.obj_ids_all_gpu.tolist())}"
            )
        state.tracker_inference_states = end_tracks(
            self.tracker, state.tracker_inference_states, frozenset((obj_id,))
        )
        metadata = state.tracker_metadata.copy()
        metadata.drop_ids([obj_id])
        metadata.obj_id_to_score.pop(obj_id, None)
        metadata.obj_id_to_last_occluded.pop(obj_id, None)
        metadata.rank0_metadata.forget(obj_id)
        state.tracker_metadata = metadata
        for frame, cached in state.cached_frame_outputs.items():
            state.cached_frame_outputs[frame] = cached.without((obj_id,))
        if is_user_action:
            state.action_history.append(Action(ActionType.REMOVE, None, [obj_id]))

    @torch.inference_mode()
    def propagate_in_video(
        self,
        inference_state: VideoSession,
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
        reverse: bool = False,
    ) -> Iterator[Step]:
        """Propagate as the history asks: in full, for clicked objects, or fetch what is there.

        See ``video.actions.next_propagation`` and the parent. A propagation that is not run to its
        last frame leaves no trace in the history.
        """
        state = inference_state
        order = processing_order(state, start_frame_idx, max_frame_num_to_track, reverse)
        kind, obj_ids = next_propagation(state.action_history, state.num_frames)
        entry = Action(kind, start_frame_idx, obj_ids, reverse)
        if kind is ActionType.FULL:
            self._bound(state, start_frame_idx, max_frame_num_to_track)
            steps = propagate_full(self, state, order, reverse)
        elif kind is ActionType.PARTIAL:
            steps = propagate_partial(self, state, order, reverse, obj_ids or [])
        else:
            steps = propagate_fetch(self, state, order)
        state.action_history.append(entry)
        left = len(order)
        try:
            for step in self._watched(state, steps):
                left -= 1
                yield step
        finally:
            if left:
                state.action_history = [a for a in state.action_history if a is not entry]

"""The state of one video session, and its life: made, reset.

The state is a record with item access; its names are those of the published state dict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...errors import InputError
from ..data_misc import BatchedDatapoint, FindStage
from ..prompts.container import Prompt
from ..tracker.records import ItemAccess
from .actions import Action
from .metadata import TrackMetadata
from .outputs import CachedFrame
from .records import FrameInputs

TEXT_PLACEHOLDER = "<text placeholder>"
VISUAL = "visual"
TEXT_ID, VISUAL_ID = 0, 1
"""Places of the phrase and of "visual" in ``find_text_batch``."""


class FindStages(Sequence[FindStage]):
    """One find stage per frame, made when asked: frame t with the caption ``text_id``."""

    def __init__(self, num_frames: int, device: torch.device) -> None:
        self._num_frames, self._device = num_frames, device
        self.text_id = TEXT_ID

    def __len__(self) -> int:
        return self._num_frames

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        frame = int(index)
        if not -len(self) <= frame < len(self):
            raise IndexError(index)
        return FindStage.for_texts(
            img_ids=torch.tensor([frame % len(self)], device=self._device),
            text_ids=torch.tensor([self.text_id], device=self._device),
        )


@dataclass
class VideoSession(ItemAccess):
    """Everything one video's session knows. Made by ``Sam3VideoInference.init_state``.

    input_batch: frames (anything that gives [3, S, S] per index), captions, find stages.
    tracker_inference_states: this process's tracker states. feature_cache: features of the current
    frame, shared with those states. cached_frame_outputs: frame -> masks, compressed.
    epoch: grows when results become void, so that an older propagation notices.
    """

    image_size: int
    num_frames: int
    orig_height: int
    orig_width: int
    input_batch: BatchedDatapoint
    constants: dict[str, Any]
    tracker_metadata: TrackMetadata
    is_image_only: bool = False
    previous_stages_out: list[Any] = field(default_factory=list)
    text_prompt: str | None = None
    per_frame_raw_point_input: list[Any] = field(default_factory=list)
    per_frame_raw_box_input: list[Any] = field(default_factory=list)
    per_frame_visual_prompt: list[Any] = field(default_factory=list)
    per_frame_geometric_prompt: list[Prompt | None] = field(default_factory=list)
    per_frame_cur_step: list[int] = field(default_factory=list)
    visual_prompt_embed: Tensor | None = None
    visual_prompt_mask: Tensor | None = None
    tracker_inference_states: list[Any] = field(default_factory=list)
    feature_cache: dict[Any, Any] = field(default_factory=dict)
    cached_frame_outputs: dict[int, CachedFrame] = field(default_factory=dict)
    action_history: list[Action] = field(default_factory=list)
    epoch: int = 0

    @property
    def video_size(self) -> tuple[int, int]:
        """(H, W) of the outputs."""
        return self.orig_height, self.orig_width

    @property
    def detects(self) -> bool:
        """Whether a phrase or a box was given, so that objects are found by detection."""
        return self.text_prompt is not None or any(
            prompt is not None for prompt in self.per_frame_geometric_prompt
        )

    def clear(self, metadata: TrackMetadata) -> None:
        """Back to no prompts and no results, with the given (empty) metadata."""
        n = self.num_frames
        self.input_batch.find_text_batch[TEXT_ID] = TEXT_PLACEHOLDER
        self.input_batch.find_inputs.text_id = TEXT_ID  # type: ignore[attr-defined]
        self.text_prompt = None
        self.previous_stages_out = [None] * n
        self.per_frame_raw_point_input = [None] * n
        self.per_frame_raw_box_input = [None] * n
        self.per_frame_visual_prompt = [None] * n
        self.per_frame_geometric_prompt = [None] * n
        self.per_frame_cur_step = [0] * n
        self.visual_prompt_embed = self.visual_prompt_mask = None
        self.tracker_inference_states = []
        self.tracker_metadata = metadata
        self.feature_cache = {}
        self.cached_frame_outputs = {}
        self.action_history = []
        self.epoch += 1

    def check_frame(self, frame_idx: Any) -> int:
        """``frame_idx`` as an int; InputError when the video has no such frame."""
        if isinstance(frame_idx, bool) or not hasattr(frame_idx, "__index__"):
            raise InputError(f"a frame index must be an integer, got {frame_idx!r}")
        index = int(frame_idx)
        if not 0 <= index < self.num_frames:
            raise InputError(
                f"frame index {index} is outside the video of {self.num_frames} frames;"
                f" allowed is 0 to {self.num_frames - 1}"
            )
        return index

    def frame_inputs(self, frame_idx: int, reverse: bool) -> FrameInputs:
        """What to run a frame with."""
        prompt = self.per_frame_geometric_prompt[frame_idx]
        return FrameInputs(
            frame_idx=frame_idx,
            num_frames=self.num_frames,
            reverse=reverse,
            input_batch=self.input_batch,
            geometric_prompt=self.constants["empty_geometric_prompt"] if prompt is None else prompt,
            feature_cache=self.feature_cache,
            video_size=self.video_size,
            allow_new=self.text_prompt is not None or prompt is not None,
            limit_objects=not self.is_image_only,
        )

    def score_table(self, frame_idx: int) -> dict[int, float]:
        """The tracker's scores of a frame: id -> score."""
        return self.tracker_metadata.obj_id_to_tracker_score_frame_wise.get(frame_idx, {})


def new_session(
    frames: Any,
    size: tuple[int, int],
    image_size: int,
    device: torch.device,
    metadata: TrackMetadata,
    *,
    is_image_only: bool,
) -> VideoSession:
    """A session on frames that are indexed by number; size: (H, W) of the original video.

    InputError for a video without frames.
    """
    num_frames = len(frames)
    if num_frames == 0:
        raise InputError("the video has no frames; give at least one")
    batch = BatchedDatapoint(
        img_batch=frames,
        find_text_batch=[TEXT_PLACEHOLDER, VISUAL],
        find_inputs=FindStages(num_frames, device),  # type: ignore[arg-type]
        find_targets=[],
        find_metadatas=[],
    )
    session = VideoSession(
        image_size=image_size,
        num_frames=num_frames,
        orig_height=int(size[0]),
        orig_width=int(size[1]),
        input_batch=batch,
        constants={"empty_geometric_prompt": empty_prompt(device)},
        tracker_metadata=metadata,
        is_image_only=is_image_only,
    )
    session.clear(metadata)
    return session


def empty_prompt(device: torch.device) -> Prompt:
    """A geometric prompt of one entry without boxes and points."""
    return Prompt(
        box_embeddings=torch.zeros(0, 1, 4, device=device),
        box_mask=torch.zeros(1, 0, dtype=torch.bool, device=device),
        box_labels=torch.zeros(0, 1, dtype=torch.long, device=device),
        point_embeddings=torch.zeros(0, 1, 2, device=device),
        point_mask=torch.zeros(1, 0, dtype=torch.bool, device=device),
        point_labels=torch.zeros(0, 1, dtype=torch.long, device=device),
    )

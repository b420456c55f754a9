"""Typed records that pass between the steps of one frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data_misc import BatchedDatapoint
from ..prompts.container import Prompt


@dataclass
class Detections:
    """What the detector found on one frame, in query order.

    boxes: [D, 4] float32, normalised xyxy; masks: [D, h, w] logits; scores: [D] float32 in 0..1.
    """

    boxes: Tensor
    masks: Tensor
    scores: Tensor

    def __len__(self) -> int:
        return len(self.scores)


@dataclass
class TrackedMasks:
    """What the tracker says about all objects on one frame, over all processes.

    obj_ids: [N] int64; low_res: [N, h, w] mask logits; scores: [N] object score logits.
    """

    obj_ids: np.ndarray
    low_res: Tensor
    scores: Tensor

    def __len__(self) -> int:
        return len(self.obj_ids)

    def rows(self, obj_ids: list[int]) -> list[int]:
        """Row of each of ``obj_ids``; KeyError for one that is not here."""
        index = {int(obj_id): row for row, obj_id in enumerate(self.obj_ids)}
        return [index[int(obj_id)] for obj_id in obj_ids]

    def sorted(self) -> TrackedMasks:
        """The same by ascending id."""
        order = np.argsort(self.obj_ids, kind="stable")
        rows = torch.from_numpy(order).to(self.low_res.device)
        return TrackedMasks(self.obj_ids[order], self.low_res[rows], self.scores[rows])


@dataclass(frozen=True)
class FrameInputs:
    """What one frame is run with.

    feature_cache: of the session, changed by detection. video_size: (H, W) of the outputs.
    allow_new: whether detections count at all (a phrase, or a box on this frame). limit_objects:
    False for single pictures.
    """

    frame_idx: int
    num_frames: int
    reverse: bool
    input_batch: BatchedDatapoint
    geometric_prompt: Prompt
    feature_cache: dict[Any, Any]
    video_size: tuple[int, int]
    allow_new: bool = True
    limit_objects: bool = True


@dataclass
class FrameStats:
    """Numbers of a frame: objects tracked after it, detections dropped by the object limit."""

    num_obj_tracked: int
    num_obj_dropped: int

    def as_dict(self) -> dict[str, int]:
        """For the public outputs."""
        return {"num_obj_tracked": self.num_obj_tracked, "num_obj_dropped": self.num_obj_dropped}


@dataclass
class FrameMasks:
    """Masks at video size: ``masks`` bool [N, 1, H, W], one per id of ``obj_ids``."""

    obj_ids: list[int]
    masks: Tensor

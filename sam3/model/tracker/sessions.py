"""Opening a tracking session on a video, or on features that somebody else makes."""

from __future__ import annotations

from typing import Any

import torch

from ...errors import InputError
from ..utils.sam2_utils import load_video_frames
from .state import InferenceState


def open_session(
    device: torch.device,
    image_size: int,
    *,
    video_path: Any,
    video_height: int | None,
    video_width: int | None,
    num_frames: int | None,
    cached_features: dict[int, Any] | None,
    offload_video_to_cpu: bool,
    offload_state_to_cpu: bool,
    async_loading_frames: bool,
) -> InferenceState:
    """A new session; see ``Sam3TrackerPredictor.init_state``.

    Args:
        device: where the model is. image_size: side of the square that frames are resized to.

    Raises:
        InputError: neither a video nor its size and length, or sizes below 1.
    """
    images = None
    if video_path is not None:
        images, video_height, video_width = load_video_frames(
            video_path,
            image_size,
            offload_video_to_cpu=offload_video_to_cpu,
            async_loading_frames=async_loading_frames,
            compute_device=device,
        )
        num_frames = len(images)
    return InferenceState(
        device=device,
        storage_device=torch.device("cpu") if offload_state_to_cpu else device,
        num_frames=_at_least_one(num_frames, "num_frames"),
        video_height=_at_least_one(video_height, "video_height"),
        video_width=_at_least_one(video_width, "video_width"),
        offload_video_to_cpu=offload_video_to_cpu,
        offload_state_to_cpu=offload_state_to_cpu,
        images=images,
        cached_features={} if cached_features is None else cached_features,
    )


def _at_least_one(value: int | None, name: str) -> int:
    if value is None or value < 1:
        raise InputError(
            f"{name} is {value}; a session needs video_path, or video_height, video_width and "
            "num_frames of at least 1"
        )
    return int(value)

"""Loads whatever a video session may be started on. The code lives in ``video_frames/``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .video_frames.async_loader import AsyncVideoFrameLoader
from .video_frames.open import (
    IMAGE_EXTENSIONS,
    VIDEO_EXTENSIONS,
    frame_format,
    is_single_picture,
    open_source,
)
from .video_frames.video import VideoFrames

__all__ = [
    "IMAGE_EXTENSIONS",
    "VIDEO_EXTENSIONS",
    "AsyncVideoFrameLoader",
    "VideoFrames",
    "is_single_picture",
    "load_resource_as_video_frames",
]


def load_resource_as_video_frames(
    resource_path: Any,
    image_size: int = 1008,
    offload_video_to_cpu: bool = False,
    img_mean: Sequence[float] = (0.5, 0.5, 0.5),
    img_std: Sequence[float] = (0.5, 0.5, 0.5),
    async_loading_frames: bool = False,
    video_loader_type: str = "cv2",
    device: torch.device | str = "cpu",
) -> tuple[VideoFrames, int, int]:
    """Open a resource as a video; its frames are decoded when they are needed.

    Args:
        resource_path: a list of pictures, or the path of a picture, a folder of pictures
            (natural order) or a video; see ``video_frames.open.open_source``.
        image_size: side S of the square frames.
        offload_video_to_cpu: leave the frames in CPU memory instead of on ``device``.
        img_mean, img_std: normalisation of pixels in 0..1.
        async_loading_frames: read ahead in a background thread; the first frame is read at once.
        video_loader_type: "cv2" (PyAV), "pyav" or "torchcodec", for video files.
        device: where the frames go.

    Returns: frames [3, S, S] by number (float16; float32 from PyAV), and height and width of the
    original video in pixels.

    Raises UnsupportedInputError (NotImplementedError) for a kind of resource that is not read,
    VideoError (ValueError, RuntimeError) for one that is missing, empty, broken or of mixed sizes.
    """
    spec = frame_format(image_size, img_mean, img_std)
    source = open_source(resource_path, spec, video_loader_type)
    target = torch.device("cpu" if offload_video_to_cpu else device)
    if async_loading_frames:
        source = AsyncVideoFrameLoader(source, target)
    return VideoFrames(source, target), source.height, source.width

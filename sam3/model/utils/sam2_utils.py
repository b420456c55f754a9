"""Loads the video of a tracker session. The code lives in ``model/video_frames/``."""

from __future__ import annotations

import os
from collections.abc import Sequence

import PIL.Image
import torch

from ..video_frames.async_loader import AsyncVideoFrameLoader
from ..video_frames.open import frame_format, open_source
from ..video_frames.video import VideoFrames

__all__ = ["AsyncVideoFrameLoader", "load_video_frames"]


def load_video_frames(
    video_path: str | os.PathLike[str] | bytes | Sequence[PIL.Image.Image],
    image_size: int = 1008,
    offload_video_to_cpu: bool = False,
    img_mean: Sequence[float] = (0.5, 0.5, 0.5),
    img_std: Sequence[float] = (0.5, 0.5, 0.5),
    async_loading_frames: bool = False,
    compute_device: torch.device | str = "cpu",
) -> tuple[VideoFrames, int, int]:
    """Open a video file, its bytes, or a folder of frames for the tracker.

    As ``io_utils.load_resource_as_video_frames``, but frames are float32, and pictures in files
    are resized with the bicubic filter.
    """
    spec = frame_format(image_size, img_mean, img_std)
    bicubic = PIL.Image.Resampling.BICUBIC
    source = open_source(video_path, spec, resample=bicubic, dtype=torch.float32)
    device = torch.device("cpu" if offload_video_to_cpu else compute_device)
    if async_loading_frames:
        source = AsyncVideoFrameLoader(source, device)
    return VideoFrames(source, device, torch.float32), source.height, source.width

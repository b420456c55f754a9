"""Decides which source reads a resource."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import PIL.Image
import torch
from torch import Tensor

from ...errors import InputError, UnsupportedInputError, VideoError
from .pictures import IMAGE_EXTENSIONS, PictureFiles, PictureList, is_image_file, list_pictures
from .prepare import FrameFormat
from .pyav import PyAVVideo
from .source import FrameSource
from .torchcodec import TorchCodecVideo

VIDEO_EXTENSIONS = (".mp4", ".mov", ".avi", ".mkv", ".webm")
# "cv2" is the published name of the usual loader; nothing here uses OpenCV.
VIDEO_LOADERS = {"cv2": PyAVVideo, "pyav": PyAVVideo, "torchcodec": TorchCodecVideo}
_DUMMY = re.compile(r"<load-dummy-video-?(\d*)>")


class DummyVideo:
    """Random frames of a made-up video of 480 x 640 pixels, the same at each read."""

    name = "the dummy video"
    height, width = 480, 640
    dtype = torch.float16

    def __init__(self, count: int, spec: FrameFormat) -> None:
        if count < 1:
            raise VideoError("a dummy video needs at least one frame")
        self._count, self._spec = count, spec

    def __len__(self) -> int:
        return self._count

    def read(self, index: int, device: torch.device) -> Tensor:
        """See FrameSource."""
        generator = torch.Generator().manual_seed(index)
        shape = (3, self._spec.size, self._spec.size)
        return torch.randn(shape, generator=generator).half().to(device)

    def close(self) -> None:
        """Nothing is open."""


def open_source(
    resource: Any,
    spec: FrameFormat,
    video_loader_type: str = "cv2",
    resample: PIL.Image.Resampling = PIL.Image.Resampling.BILINEAR,
    dtype: torch.dtype = torch.float16,
) -> FrameSource:
    """The source for a resource.

    Args:
        resource: a sequence of pictures (PIL images, [H, W, 3] arrays, [3, H, W] tensors) or one
            of them, a picture file, a folder of pictures, a video file, the bytes of one, or
            ``"<load-dummy-video-N>"``.
        video_loader_type: "cv2" or "pyav" (both PyAV) or "torchcodec".
        resample, dtype: filter and number format of picture files and folders.

    Raises UnsupportedInputError for another kind of resource, VideoError for one that is missing,
    empty or broken.
    """
    if video_loader_type not in VIDEO_LOADERS:
        raise VideoError(
            f"unknown video loader {video_loader_type!r}; allowed: {', '.join(VIDEO_LOADERS)}"
        )
    if isinstance(resource, bytes):
        return VIDEO_LOADERS[video_loader_type](resource, spec)
    if isinstance(resource, PIL.Image.Image):
        return PictureList([resource], spec)
    if isinstance(resource, (str, os.PathLike)):
        dummy = _DUMMY.fullmatch(os.fspath(resource))
        if dummy:
            return DummyVideo(int(dummy[1] or 60), spec)
        return _open_path(Path(resource), spec, video_loader_type, resample, dtype)
    if isinstance(resource, Sequence) or getattr(resource, "ndim", 0) == 4:
        return PictureList(resource, spec)
    raise UnsupportedInputError(
        f"frames cannot be read from {type(resource).__name__}; allowed are a list of pictures or "
        "a path to a video, a picture or a folder of pictures"
    )


def _open_path(
    path: Path,
    spec: FrameFormat,
    loader: str,
    resample: PIL.Image.Resampling,
    dtype: torch.dtype,
) -> FrameSource:
    if path.is_dir():
        return PictureFiles(list_pictures(path), spec, resample, dtype)
    is_video = path.suffix.lower() in VIDEO_EXTENSIONS
    if not is_video and not is_image_file(path):
        raise UnsupportedInputError(
            f"frames cannot be read from {path}; allowed are a folder of pictures, picture files "
            f"({', '.join(IMAGE_EXTENSIONS)}) and videos ({', '.join(VIDEO_EXTENSIONS)})"
        )
    if not path.is_file():
        raise VideoError(f"there is no file {path}")
    if is_video:
        return VIDEO_LOADERS[loader](path, spec)
    return PictureFiles([path], spec, resample, dtype)


def is_single_picture(resource: Any) -> bool:
    """Whether a resource is one picture: a PIL image, a list of one, or a picture file's path."""
    if isinstance(resource, (str, os.PathLike)):
        return is_image_file(resource)
    if isinstance(resource, PIL.Image.Image):
        return True
    return isinstance(resource, (list, tuple)) and len(resource) == 1


def frame_format(image_size: int, mean: Sequence[float], std: Sequence[float]) -> FrameFormat:
    """A FrameFormat from any sequences of three. Raises InputError for other lengths."""
    if len(mean) != 3 or len(std) != 3:
        raise InputError(f"mean and std need three values each, got {mean} and {std}")
    return FrameFormat(
        int(image_size),
        (float(mean[0]), float(mean[1]), float(mean[2])),
        (float(std[0]), float(std[1]), float(std[2])),
    )

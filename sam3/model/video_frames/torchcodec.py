"""Video files through torchcodec."""

from __future__ import annotations

import os
import threading
from typing import Any

import torch
from torch import Tensor

from ...errors import MissingDependencyError, VideoError
from .prepare import FrameFormat, from_decoded_half


class TorchCodecVideo:
    """One video file (path, or its bytes) as a source of frames; seeks exactly."""

    dtype = torch.float16

    def __init__(self, video: str | os.PathLike[str] | bytes, spec: FrameFormat) -> None:
        """Raises VideoError if the file cannot be opened or has no frame."""
        self._data = video if isinstance(video, bytes) else os.fspath(video)
        self.name = "the video" if isinstance(video, bytes) else str(self._data)
        self._spec = spec
        self._lock = threading.Lock()
        self._decoder: Any = None
        self._count = len(self._open())
        if self._count == 0:
            raise VideoError(f"{self.name} has no frames: a video needs at least one")
        self.height, self.width = self._decode(0).shape[1:]

    def __len__(self) -> int:
        return self._count

    def read(self, index: int, device: torch.device) -> Tensor:
        """See FrameSource."""
        return from_decoded_half(self._decode(index), self._spec, device)

    def close(self) -> None:
        """See FrameSource."""
        with self._lock:
            self._decoder = None

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__, _decoder=None)
        del state["_lock"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def _open(self) -> Any:
        if self._decoder is None:
            try:
                from torchcodec.decoders import VideoDecoder
            except (ImportError, RuntimeError, OSError) as error:  # it loads FFmpeg on import
                raise MissingDependencyError(
                    f"torchcodec cannot be used ({error}): pip install torchcodec and FFmpeg, or "
                    'take video_loader_type="cv2", which reads through PyAV'
                ) from error
            try:
                self._decoder = VideoDecoder(self._data, seek_mode="exact")
            except (RuntimeError, ValueError, OSError) as error:
                raise VideoError(
                    f"{self.name} cannot be opened as a video: {error}; check that the file is "
                    "complete and that a video player shows it"
                ) from error
        return self._decoder

    def _decode(self, index: int) -> Tensor:
        """Frame ``index``: uint8 [3, H, W]."""
        with self._lock:
            try:
                return self._open()[index]
            except (RuntimeError, IndexError, OSError) as error:
                if isinstance(error, VideoError):
                    raise
                raise VideoError(
                    f"frame {index} of {self.name} cannot be decoded: {error}"
                ) from error

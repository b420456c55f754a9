"""Video files through PyAV: frames are decoded when they are read, forwards without seeking."""

from __future__ import annotations

import io
import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import MissingDependencyError, VideoError
from .prepare import FrameFormat, from_decoded

# Decoded frames kept, so that reading backwards decodes each group of pictures a few times only.
KEPT_DECODED = 24


class PyAVVideo:
    """One video file (path, or its bytes) as a source of frames.

    At the start only the packets' time stamps are read, which gives the number of frames.
    ``rate`` is the mean number of frames per second, None where the file does not tell.
    """

    dtype = torch.float32

    def __init__(self, video: str | os.PathLike[str] | bytes, spec: FrameFormat) -> None:
        """Raises VideoError if the file cannot be opened or has no frame."""
        self._data = video if isinstance(video, bytes) else os.fspath(video)
        self.name = "the video" if isinstance(video, bytes) else str(self._data)
        self._spec = spec
        self._lock = threading.RLock()
        self._container: Any = None
        self._decoder: Iterator[Any] | None = None
        self._recent: OrderedDict[int, Any] = OrderedDict()  # time stamp -> decoded frame
        self.rate: Fraction | None = None
        self._times, self._keys = self._scan()
        self.height, self.width = self.pixels(0).shape[:2]

    def __len__(self) -> int:
        return len(self._times)

    def read(self, index: int, device: torch.device) -> Tensor:
        """See FrameSource."""
        frame = torch.from_numpy(self.pixels(index)).permute(2, 0, 1)
        if frame.shape[1:] != (self.height, self.width):
            raise VideoError(
                f"frame {index} of {self.name} has {frame.shape[2]} x {frame.shape[1]} pixels, "
                f"the first one {self.width} x {self.height}; convert the video to one size"
            )
        return from_decoded(frame, self._spec, device)

    def pixels(self, index: int) -> np.ndarray:
        """Frame ``index`` at its own size, upright: uint8 [H, W, 3]. Raises VideoError."""
        av = _import_av()
        with self._lock:
            try:
                frame = self._recent.get(self._times[index]) or self._fetch(index)
                image = frame.to_ndarray(format="rgb24")
            except (av.FFmpegError, OSError) as error:
                self.close()
                raise _damaged(index, self.name, str(error)) from error
        return upright(image, getattr(frame, "rotation", 0))

    def close(self) -> None:
        """See FrameSource."""
        with self._lock:
            if self._container is not None:
                self._container.close()
            self._container = self._decoder = None
            self._recent.clear()

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__, _container=None, _decoder=None, _recent=OrderedDict())
        del state["_lock"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.RLock())

    # ---- inside -----------------------------------------------------------------------------

    def _open(self) -> Any:
        """The video stream of the open container."""
        if self._container is None:
            av = _import_av()
            file = io.BytesIO(self._data) if isinstance(self._data, bytes) else self._data
            try:
                self._container = av.open(file)
            except (av.FFmpegError, OSError, ValueError) as error:
                raise VideoError(
                    f"{self.name} cannot be opened as a video: {error}; check that the file is "
                    "complete and that a video player shows it"
                ) from error
        if not self._container.streams.video:
            self.close()
            raise VideoError(f"{self.name} holds no video stream")
        stream = self._container.streams.video[0]
        stream.thread_type = "AUTO"
        return stream

    def _scan(self) -> tuple[list[int], list[int]]:
        """Time stamps of all frames in order of display, and those of the key frames."""
        av = _import_av()
        stream = self._open()
        self.rate = stream.average_rate or stream.guessed_rate
        packets: list[Any] = []
        try:
            packets.extend(p for p in self._container.demux(stream) if p.size and not p.is_discard)
        except av.FFmpegError as error:  # what was read before the damage still counts
            if not packets:
                raise VideoError(f"{self.name} cannot be read: {error}") from error
        finally:
            self.close()
        if any(p.pts is None for p in packets):
            raise VideoError(
                f"the frames of {self.name} have no time stamps; convert it to MP4 first"
            )
        keys = sorted({p.pts for p in packets if p.is_keyframe})
        # Frames before the first key frame cannot be decoded.
        times = sorted({p.pts for p in packets if not keys or p.pts >= keys[0]})
        if not times:
            raise VideoError(f"{self.name} has no frames: a video needs at least one")
        return times, keys

    def _fetch(self, index: int) -> Any:
        """Decode on to a frame, or from the key frame before it, or from the start."""
        frame = self._decode_to(index) if self._is_ahead(index) else None
        for start in (index, 0):
            if frame is None:
                self._seek(start)
                frame = self._decode_to(index)
        if frame is None:
            self.close()
            raise _damaged(index, self.name, "it is missing")
        return frame

    def _is_ahead(self, index: int) -> bool:
        """Whether decoding on gives the frame without passing another key frame."""
        if self._decoder is None or not self._recent:
            return False
        last = next(reversed(self._recent))
        target = self._times[index]
        if last >= target:
            return False
        following = self._times[min(bisect_right(self._times, last), len(self) - 1)]
        groups = [bisect_right(self._keys, t) for t in (last, target)]
        return target == following or groups[0] == groups[1]

    def _seek(self, index: int) -> None:
        self.close()
        stream = self._open()
        if index:
            self._container.seek(self._times[index], stream=stream, backward=True)
        self._decoder = self._container.decode(stream)

    def _decode_to(self, index: int) -> Any:
        """The frame, or None if the decoder passes it; the last frames on the way are kept."""
        target = self._times[index]
        for frame in self._decoder or ():
            if frame.pts is None:
                continue
            self._recent[frame.pts] = frame
            while len(self._recent) > KEPT_DECODED:
                self._recent.popitem(last=False)
            if frame.pts >= target:
                return frame if frame.pts == target else None
        return None


def _damaged(index: int, name: str, reason: str) -> VideoError:
    return VideoError(
        f"frame {index} of {name} cannot be decoded ({reason}): the file is damaged there; repair "
        "or convert it, or use the frames before it only"
    )


def upright(image: np.ndarray, degrees: float) -> np.ndarray:
    """Turn a picture [H, W, 3] counterclockwise by the nearest multiple of 90 degrees."""
    return np.ascontiguousarray(np.rot90(image, round(degrees / 90)))


def _import_av() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingDependencyError(
            "reading video files needs PyAV: pip install av; folders of pictures work without it"
        ) from error
    return av

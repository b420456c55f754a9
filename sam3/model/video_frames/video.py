"""A video as a sequence of prepared frames on one device, read as they are needed."""

from __future__ import annotations

import operator
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ...errors import FrameIndexError
from .source import FrameSource

KEPT_FRAMES = 4  # a frame is asked for by the prompt, by propagation, and one frame ahead


def checked_index(index: Any, count: int, name: str) -> int:
    """A frame number (-count .. count - 1) as 0 .. count - 1. Raises FrameIndexError."""
    number = operator.index(index)
    if not -count <= number < count:
        raise FrameIndexError(f"{name} has no frame {number}: its frames are 0 to {count - 1}")
    return number % count


class VideoFrames:
    """Frames [3, S, S] of a source, by number; a slice or list of numbers gives [n, 3, S, S].

    It stands where a tensor [T, 3, S, S] of all frames would: ``len``, ``shape``, ``dtype``,
    ``device``, ``to`` and ``float`` work alike, but only the last few frames are in memory.
    """

    def __init__(
        self,
        source: FrameSource,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        kept_frames: int = KEPT_FRAMES,
    ) -> None:
        self.source = source
        self.device = torch.device(device)
        self.dtype = source.dtype if dtype is None else dtype
        self._kept_frames = kept_frames
        self._recent: OrderedDict[int, Tensor] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def height(self) -> int:
        """Height of the original video in pixels."""
        return self.source.height

    @property
    def width(self) -> int:
        """Width of the original video in pixels."""
        return self.source.width

    @property
    def shape(self) -> tuple[int, ...]:
        """(T, 3, S, S); reads the first frame."""
        return (len(self), *self[0].shape)

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> Tensor:
        """One frame, or several stacked. Raises FrameIndexError, or VideoError on a broken one."""
        if isinstance(index, slice):
            return self._stack(range(len(self))[index])
        if isinstance(index, Tensor) and index.ndim == 1:
            return self._stack(index.tolist())
        if isinstance(index, Sequence):
            return self._stack(index)
        return self._frame(checked_index(index, len(self), self.source.name))

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> VideoFrames:
        """The same video with frames on another device or in another dtype."""
        target = self.device if device is None else device
        return VideoFrames(self.source, target, dtype or self.dtype, self._kept_frames)

    def float(self) -> VideoFrames:
        """The same video in float32."""
        return self.to(dtype=torch.float32)

    def close(self) -> None:
        """Release the frames in memory, files and threads; reading again opens them again."""
        with self._lock:
            self._recent.clear()
        self.source.close()

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__, _recent=OrderedDict())
        del state["_lock"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def _stack(self, indices: Sequence[int]) -> Tensor:
        if len(indices) == 0:
            return self[0].new_zeros((0, *self[0].shape))
        return torch.stack([self[i] for i in indices])

    def _frame(self, index: int) -> Tensor:
        with self._lock:
            if index in self._recent:
                self._recent.move_to_end(index)
                return self._recent[index]
        frame = self.source.read(index, self.device).to(self.dtype)
        with self._lock:
            self._recent[index] = frame
            while len(self._recent) > self._kept_frames:
                self._recent.popitem(last=False)
        return frame

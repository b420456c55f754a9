"""Reads frames ahead in a background thread."""

from __future__ import annotations

import threading
import weakref
from typing import Any

import torch
from torch import Tensor

from ...errors import VideoError
from .source import FrameSource
from .video import checked_index

READ_AHEAD = 32


class _Shared:
    """What the thread and the loader share. Every field is guarded by ``changed``."""

    def __init__(self, source: FrameSource, device: torch.device, read_ahead: int) -> None:
        self.source, self.device, self.read_ahead = source, device, read_ahead
        self.changed = threading.Condition()
        self.frames: dict[int, Tensor] = {}
        self.failures: dict[int, BaseException] = {}
        self.wanted = 0
        self.step = 1
        self.stopped = False

    def stop(self) -> None:
        with self.changed:
            self.stopped = True
            self.changed.notify_all()

    def window(self) -> list[int]:
        """Frames to have, the most urgent first: the wanted one and those that follow."""
        ahead = range(self.wanted, self.wanted + self.step * (self.read_ahead + 1), self.step)
        return [i for i in ahead if 0 <= i < len(self.source)]

    def next_missing(self) -> int | None:
        done = self.frames.keys() | self.failures.keys()
        return next((i for i in self.window() if i not in done), None)


class AsyncVideoFrameLoader:
    """A source of frames that another one fills from a daemon thread.

    The first frame is read at once, so that a broken video fails here; the thread reads the
    frames after it, at most ``read_ahead`` beyond the last one asked for, and turns round when
    frames are asked for backwards. A frame that is not there yet is waited for. An error in the
    thread is raised, as VideoError, when its frame is asked for. The thread ends with ``close``
    or with the loader, and starts anew at the next read.
    """

    def __init__(
        self,
        source: FrameSource,
        device: torch.device | str = "cpu",
        read_ahead: int = READ_AHEAD,
    ) -> None:
        """Raises VideoError if the first frame cannot be read."""
        self.name, self.height, self.width = source.name, source.height, source.width
        self.dtype = source.dtype
        self._shared = _Shared(source, torch.device(device), read_ahead)
        self._shared.frames[0] = source.read(0, self._shared.device)
        self._one_reader = threading.Lock()
        self._thread: threading.Thread | None = None
        self._start()

    def __len__(self) -> int:
        return len(self._shared.source)

    def __getitem__(self, index: int) -> Tensor:
        """Frame [3, S, S] on the loader's device. Raises FrameIndexError or VideoError."""
        number = checked_index(index, len(self), self.name)
        return self.read(number, self._shared.device)

    def read(self, index: int, device: torch.device) -> Tensor:
        """See FrameSource."""
        shared = self._shared
        with self._one_reader, shared.changed:
            self._start()
            if index != shared.wanted:
                shared.step = 1 if index > shared.wanted else -1
            shared.wanted = index
            shared.changed.notify_all()
            while index not in shared.frames and index not in shared.failures:
                if shared.stopped:
                    raise VideoError(f"{self.name} was closed while frame {index} was waited for")
                shared.changed.wait()
            frame = shared.frames.get(index)
            # A failure is told once per read; the next read tries again.
            error = shared.failures.pop(index, None)
        if frame is None:
            raise VideoError(
                f"frame {index} of {self.name} could not be loaded in the background: {error}"
            ) from error
        return frame.to(device)

    def close(self) -> None:
        """See FrameSource."""
        thread, self._thread = self._thread, None
        self._shared.stop()
        if thread is not None:
            thread.join()
        with self._shared.changed:
            self._shared.frames.clear()
        self._shared.source.close()

    def __getstate__(self) -> dict[str, Any]:
        shared = self._shared
        left_out = ("_shared", "_thread", "_one_reader")
        kept = {k: v for k, v in self.__dict__.items() if k not in left_out}
        return {**kept, "_rebuild": (shared.source, shared.device, shared.read_ahead)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        rebuild = state.pop("_rebuild")
        self.__dict__.update(state, _shared=_Shared(*rebuild), _thread=None)
        self._one_reader = threading.Lock()

    def _start(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        self._shared.stopped = False
        self._thread = threading.Thread(
            target=_fill, args=(self._shared,), name="sam3-frames", daemon=True
        )
        self._thread.start()
        weakref.finalize(self, self._shared.stop)


def _fill(shared: _Shared) -> None:
    """The thread: read what is missing in the window, forget what has left it."""
    while True:
        with shared.changed:
            while not shared.stopped and shared.next_missing() is None:
                shared.changed.wait()
            index = shared.next_missing()
            if shared.stopped or index is None:
                return
        frame = error = None
        try:
            frame = shared.source.read(index, shared.device)
        except Exception as found:  # handed to whoever asks for the frame
            error = found
        with shared.changed:
            if frame is not None:
                shared.frames[index] = frame
            elif error is not None:
                shared.failures[index] = error
            window = set(shared.window())
            for stored in (shared.frames, shared.failures):
                for old in [i for i in stored if i not in window]:
                    del stored[old]
            shared.changed.notify_all()

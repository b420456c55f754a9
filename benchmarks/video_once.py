"""Memory of one model over the frames of a video, in a process of its own: see ``video``.

    python -m benchmarks.video_once PART SIDE OBJECTS FRAMES SIZE DEVICE [CHECKPOINT]

PART is "tracker" or "video", SIDE "ours" or "peer". Prints one JSON object: what the process holds
beyond the model and the frames, at its peak and per frame.
"""

from __future__ import annotations

import ctypes
import gc
import itertools
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from . import peer_video, video_models
from .load_once import resident_bytes

UNMEASURED = 3
"""Frames of a first session."""


def forget_peak() -> None:
    """Let ``VmHWM`` start again from now, where the system allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        pass


def return_free_memory() -> None:
    """Collect garbage and, with glibc, give freed memory back, so that what follows is seen."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


class Meter:
    """Bytes held by the device on a GPU, by the process elsewhere.

    Only memory that the process wrote counts as held: the system takes pages of libraries back as
    it likes. The peak is that of all pages; the system keeps no other.
    """

    def __init__(self, device: torch.device) -> None:
        self.on_gpu = device.type == "cuda"
        return_free_memory()
        self.base, self.base_of_peak = self._now(), self._now("VmRSS")
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats(device)
        else:
            forget_peak()

    def _now(self, field: str = "RssAnon") -> int:
        return torch.cuda.memory_allocated() if self.on_gpu else resident_bytes(field) or 0

    def held(self) -> int:
        """Now, beyond what was held at the start."""
        return self._now() - self.base

    def peak(self) -> int:
        """At most since the start, likewise."""
        most = torch.cuda.max_memory_allocated() if self.on_gpu else self._now("VmHWM")
        return most - self.base_of_peak


def open_stream(
    part: str, side: str, size: str, objects: int, frames: int, device: torch.device, path: Any
) -> tuple[Any, Any]:
    """(what makes the stream of frames when called, frames); the model is built."""
    config = video_models.config_of(size, objects)
    ours = video_models.build_ours(config, path, device)
    square = config.image.vision.img_size
    moving = video_models.MovingFrames(frames, square, device)
    if part == "video" and side == "ours":
        return lambda: video_models.our_video(ours, moving), ours
    pixels = moving.all()
    if part == "tracker" and side == "ours":
        features = video_models.our_features(ours, pixels)
        return lambda: video_models.our_tracker(ours, pixels, objects, features), ours
    if part == "tracker":
        theirs = peer_video.build_tracker_peer(config, ours.state_dict(), device)
        session = video_models.their_features(theirs, pixels)

        def begin() -> Any:
            session.session.reset_tracking_data()
            return video_models.their_tracker(session, objects)

        return begin, theirs
    theirs = peer_video.build_video_peer(config, ours.state_dict(), device)
    tokens = video_models.phrase_tokens(ours)
    return lambda: video_models.their_video(theirs, pixels, tokens), theirs


@torch.inference_mode()
def measure(
    part: str, side: str, size: str, objects: int, frames: int, device: torch.device, path: Any
) -> dict[str, Any]:
    """Run the frames once and report bytes; a few are run before, so that all is imported."""
    start, model = open_stream(part, side, size, objects, frames, device, path)
    for _ in itertools.islice(start(), UNMEASURED):
        pass
    meter = Meter(device)
    stream: Iterator[Any] = start()
    held = []
    for _ in stream:
        held.append(meter.held())
    return {
        "part": part,
        "side": side,
        "objects": objects,
        "frames": len(held),
        "weights_bytes": sum(p.nbytes for p in model.parameters()),
        "peak_bytes": meter.peak(),
        "held_bytes": held,
    }


if __name__ == "__main__":
    part, side, objects, frames, size, device, *path = sys.argv[1:]
    found = measure(
        part,
        side,
        size,
        int(objects),
        int(frames),
        torch.device(device),
        Path(path[0]) if path else None,
    )
    print(json.dumps(found))

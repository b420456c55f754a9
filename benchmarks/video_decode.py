"""Time to decode, resize and normalise a frame: our loaders beside transformers' processor.

Ours read frame by frame, when asked; the peer decodes a whole video with PyAV and prepares all of
it at once, so its time is that of the whole, divided.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import common
from .video_models import MovingFrames

HEIGHT, WIDTH = 720, 1280


def write_clip(folder: Path, frames: int) -> dict[str, Path]:
    """The same moving pattern of 1280 x 720 pixels as an MP4 file and as a folder of JPEGs."""
    import av
    from PIL import Image

    pictures, video = folder / "frames", folder / "clip.mp4"
    pictures.mkdir()
    source = MovingFrames(frames, WIDTH)
    with av.open(str(video), "w") as container:
        stream: Any = container.add_stream("mpeg4", rate=24)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(frames):
            values = source[number][:, :HEIGHT].permute(1, 2, 0).numpy()
            pixels = ((values + 1) * 127.5).astype(np.uint8)
            Image.fromarray(pixels).save(pictures / f"{number}.jpg", quality=90)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return {"mp4": video, "jpg": pictures}


def has_torchcodec() -> bool:
    """Whether the optional decoder is installed."""
    return importlib.util.find_spec("torchcodec") is not None


def measure_decoding(
    folder: Path, side: int, frames: int, with_peer: bool, processor: bool
) -> list[dict[str, Any]]:
    """Milliseconds per frame of every loader, to squares of ``side`` pixels on the CPU."""
    paths = write_clip(folder, frames)
    loaders = {"MP4, PyAV": ("mp4", "pyav"), "JPEG folder": ("jpg", "pyav")}
    if has_torchcodec():
        loaders["MP4, torchcodec"] = ("mp4", "torchcodec")
    rows = []
    for name, (kind, loader) in loaders.items():
        row = {"source": name, "ours": _ours(paths[kind], loader, side, frames, processor)}
        if with_peer and name == "MP4, PyAV":
            row["peer"] = _theirs(paths[kind], side, frames, processor)
        rows.append(row)
    return rows


def _ours(path: Path, loader: str, side: int, frames: int, processor: bool) -> dict[str, float]:
    from sam3.model.io_utils import load_resource_as_video_frames

    video, _, _ = load_resource_as_video_frames(str(path), side, video_loader_type=loader)
    numbers = iter(range(frames))
    cpu = torch.device("cpu")
    times = [common.time_once(lambda: video[next(numbers)], cpu, processor) for _ in range(frames)]
    return common.summary(times)


def _theirs(path: Path, side: int, frames: int, processor: bool) -> dict[str, float]:
    import transformers
    from transformers.video_utils import load_video

    size = {"height": side, "width": side}
    prepare = transformers.Sam3TrackerVideoProcessor(
        image_processor=transformers.Sam3ImageProcessor(size=size),
        video_processor=transformers.Sam2VideoVideoProcessor(size=size),
        target_size=side,
    )

    def whole() -> None:
        prepare.init_video_session(video=load_video(str(path), backend="pyav")[0])

    times = [common.time_once(whole, torch.device("cpu"), processor) for _ in range(3)]
    return common.summary([time / frames for time in times])

"""Small videos and picture folders for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def numbered_frames(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Flat grey frames uint8 [H, W, 3] whose brightness tells their number: 10 + 9 per frame."""
    return [np.full((height, width, 3), 10 + 9 * i, np.uint8) for i in range(count)]


def write_video(
    path: Path, frames: list[np.ndarray], codec: str = "mpeg4", gop: int = 5, b_frames: int = 0
) -> Path:
    """Write frames uint8 [H, W, 3] with PyAV."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size = gop
        stream.codec_context.max_b_frames = b_frames
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_pictures(folder: Path, names: list[str], frames: list[np.ndarray]) -> Path:
    """Write one picture per name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in zip(names, frames, strict=True):
        Image.fromarray(frame).save(folder / name)
    return folder

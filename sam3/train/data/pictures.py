"""Pictures of a data set: files, and frames of video files as ``clip.mp4@17``."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path

import PIL.Image

from ...errors import DataError
from ...model.video_frames.prepare import FrameFormat
from ...model.video_frames.pyav import PyAVVideo

_FRAME = re.compile(r"(?P<video>.+\.mp4)@(?P<frame>\d+)", re.IGNORECASE)
# Open readers per process: a handful serves neighbouring samples, each holds decoded frames.
_OPEN_VIDEOS = 4


def picture_file(folder: Path, name: str) -> Path:
    """The file that holds picture ``name``: itself, or the video it is a frame of."""
    match = _FRAME.fullmatch(name)
    return folder / (match["video"] if match else name)


def read_picture(folder: Path, name: str) -> PIL.Image.Image:
    """Picture ``name`` of ``folder``, RGB, as it is stored (not turned by its EXIF tag).

    Raises:
        DataError: it is missing or cannot be decoded; the message names the file.
    """
    path = picture_file(folder, name)
    if not path.is_file():
        raise DataError(f"{path} is missing; check the image folder and the file names")
    match = _FRAME.fullmatch(name)
    if match:
        return _read_frame(path, int(match["frame"]))
    try:
        with PIL.Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be decoded: {error}; replace the file") from error


def _read_frame(path: Path, frame: int) -> PIL.Image.Image:
    video = _open_video(str(path), os.getpid())
    if frame >= len(video):
        raise DataError(f"{path} has {len(video)} frames, there is no frame {frame}")
    return PIL.Image.fromarray(video.pixels(frame))


@lru_cache(maxsize=_OPEN_VIDEOS)
def _open_video(path: str, _process: int) -> PyAVVideo:
    """A reader of this process: forked loaders must not share a file position."""
    return PyAVVideo(path, FrameFormat(1))

"""The video that ``track`` is given: its facts, and its frames as they look."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, VideoError
from .outputs import source_stamp
from .sources import identity

if TYPE_CHECKING:
    from ..model.video_frames.pictures import PictureFiles
    from ..model.video_frames.pyav import PyAVVideo

PICTURES_PER_SECOND = Fraction(24)
"""Frame rate of an overlay made from pictures."""


@dataclass(frozen=True)
class Clip:
    """An open video of ``frame_count`` frames of one size.

    Attributes:
        path: as the user wrote it.
        source: reads the frames.
        frame_count: at least 1.
        size: (W, H) in pixels, upright.
        fps: frames per second.
    """

    path: Path
    source: PyAVVideo | PictureFiles
    frame_count: int
    size: tuple[int, int]
    fps: Fraction

    @property
    def name(self) -> str:
        """What its outputs are called after: the file's name without suffix, or the folder's."""
        return identity(self.path).name if self.path.is_dir() else self.path.stem

    def pixels(self, frame: int) -> np.ndarray:
        """One frame, upright: uint8 ``[H, W, 3]``. Raises VideoError where it is damaged."""
        return self.source.pixels(frame)

    def stamp(self) -> dict[str, Any]:
        """What identifies this version of the video; of a folder all its pictures count."""
        if not self.path.is_dir():
            return source_stamp(self.path)
        from ..model.video_frames.pictures import list_pictures

        stats = [picture.stat() for picture in list_pictures(self.path)]
        return {
            "path": str(self.path.resolve()),
            "pictures": len(stats),
            "bytes": sum(stat.st_size for stat in stats),
            "mtime_ns": max(stat.st_mtime_ns for stat in stats),
        }


def open_clip(path: Path) -> Clip:
    """Open a video file, a folder of pictures or one picture.

    Raises:
        VideoError: there is no such file, or it is empty, broken or of mixed sizes.
        UnsupportedInputError: a kind of file that holds no frames.
        MissingDependencyError: a video file without PyAV.
    """
    from ..model.video_frames.open import open_source
    from ..model.video_frames.pictures import PictureFiles
    from ..model.video_frames.prepare import FrameFormat
    from ..model.video_frames.pyav import PyAVVideo

    try:
        exists = path.exists()
    except (OSError, ValueError) as error:
        raise VideoError(f"not a usable path: {error}") from error
    if not exists:
        raise VideoError("no such file")
    source = open_source(path, FrameFormat(1))  # only its original pixels are read here
    assert isinstance(source, (PyAVVideo, PictureFiles))
    rate = source.rate if isinstance(source, PyAVVideo) else None
    size = (source.width, source.height)
    return Clip(path, source, len(source), size, rate or PICTURES_PER_SECOND)


def check_place(video: Path, output: Path) -> None:
    """InputError where the results would lie among the pictures of the video itself."""
    if identity(video) == identity(output):
        raise InputError(
            f"{video} is both the input and the output folder. Give another one with --output."
        )

"""Write pictures as an MP4 through PyAV; the file gets its name when it is whole."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import MissingDependencyError

H264 = "libx264"
FALLBACK = "mpeg4"
_QUANTIZER_UNIT = 118  # FFmpeg's measure of MPEG-4 quality: 1 is best, 3 is good
_CODEC_OPTIONS = {
    H264: {"crf": "18", "preset": "veryfast"},
    FALLBACK: {"flags": "+qscale", "global_quality": str(3 * _QUANTIZER_UNIT)},
}
_LARGEST_NUMERATOR = 65535  # of a frame rate in MPEG-4


class VideoWriter:
    """One MP4: H.264 where PyAV has it, else MPEG-4.

    Frames go to a temporary file in the same folder; :meth:`close` moves it into place. Odd sides
    get one more row or column, a copy of the last one.
    """

    def __init__(self, path: Path, fps: Fraction | float) -> None:
        """Nothing is written before the first frame.

        Args:
            path: the final name; its folder is made where it is missing.
            fps: frames per second.

        Raises:
            MissingDependencyError: PyAV is not installed.
        """
        self._av = import_av()
        self._path = path
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
        self._fps = Fraction(fps).limit_denominator(1001)
        self._container: Any = None
        self._stream: Any = None

    def add(self, pixels: np.ndarray) -> None:
        """Append one frame.

        Args:
            pixels: ``[H, W, 3]`` uint8, of the size of the first one.
        """
        height, width = pixels.shape[:2]
        pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._container is None:
            self._open(*pixels.shape[:2])
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """End the file and give it its name; without frames there is none."""
        if self._container is None:
            return
        try:
            self._container.mux(self._stream.encode())
            self._container.close()
            os.replace(self._temporary, self._path)
        except BaseException:
            self._temporary.unlink(missing_ok=True)
            raise
        finally:
            self._container = None

    def _open(self, height: int, width: int) -> None:
        codec = H264 if H264 in self._av.codecs_available else FALLBACK
        rate = self._fps
        if codec == FALLBACK and rate.numerator > _LARGEST_NUMERATOR:
            rate = Fraction(round(rate))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._container = self._av.open(str(self._temporary), "w", format="mp4")
        self._stream = self._container.add_stream(codec, rate=rate)
        self._stream.height, self._stream.width = height, width
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = _CODEC_OPTIONS[codec]


def import_av() -> Any:
    """PyAV. MissingDependencyError where it is not installed."""
    try:
        import av
    except ImportError as error:
        raise MissingDependencyError("writing an overlay MP4 needs PyAV: pip install av") from error
    return av

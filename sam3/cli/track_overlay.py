"""The overlay video: finished frames, drawn in order, one for each frame that is tracked."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..perflib.rle import decode_rle
from .instances import Instance
from .interruption import interruption_held
from .overlay import draw_overlay, magnification
from .video_writer import VideoWriter

if TYPE_CHECKING:
    from .track_journal import Journal, Record
    from .track_source import Clip


class TrackOverlay:
    """Draws what a journal holds onto the frames of a video.

    Frames that are run backwards wait for the first one; what never comes is left out.
    """

    def __init__(self, path: Path, clip: Clip, journal: Journal, fps: Fraction | float) -> None:
        """Nothing is written yet. Raises MissingDependencyError without PyAV."""
        self._writer = VideoWriter(path, fps)
        self._clip, self._journal = clip, journal
        self._factor = magnification(clip.size)
        self._next = 0

    def draw_next(self) -> None:
        """Draw the frame that follows on those drawn so far, if it is finished."""
        if self._next in self._journal:
            self._draw(self._next)

    def waiting(self) -> list[int]:
        """Finished frames that are not drawn yet."""
        return [frame for frame in self._journal if frame >= self._next]

    def finish(self, drawn: Callable[[], Any]) -> None:
        """Draw what is waiting and end the file, also when the drawing is interrupted or fails.

        Args:
            drawn: called after each frame.
        """
        try:
            for frame in self.waiting():
                self._draw(frame)
                drawn()
        finally:
            with interruption_held():
                self._writer.close()

    def _draw(self, frame: int) -> None:
        with interruption_held():
            self._writer.add(
                overlay_frame(self._clip.pixels(frame), self._journal[frame], self._factor)
            )
            self._next = frame + 1


def overlay_frame(pixels: np.ndarray, record: Record, factor: int) -> np.ndarray:
    """One frame with its objects drawn on it: uint8 ``[H * factor, W * factor, 3]``.

    Args:
        pixels: ``[H, W, 3]`` uint8.
        record: what was found in it.
        factor: whole number to enlarge by, the same for all frames of a video.
    """
    from PIL import Image

    found = [
        Instance.of_mask(
            decode_rle(item["segmentation"]),
            tuple(item["box"]),
            item["score"],
            f"#{item['id']} {item['phrase']}".rstrip(),
        )
        for item in record["objects"]
    ]
    numbers = [item["id"] for item in record["objects"]]
    return np.asarray(draw_overlay(Image.fromarray(pixels), found, numbers, factor))

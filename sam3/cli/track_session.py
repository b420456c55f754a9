"""Drive the video model: prompts, and the order of frames that covers the whole video."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .options import Region
from .track_options import TrackOptions

if TYPE_CHECKING:
    from ..model.sam3_video_inference import Sam3VideoInferenceWithInstanceInteractivity
    from ..model.video.outputs import Outputs
    from ..model.video.session import VideoSession
    from .track_source import Clip

BOX_CORNERS = (2, 3)
"""Labels of a box's two corners, which come before the points."""


@dataclass(frozen=True)
class Described:
    """One object's points (x, y as parts of width and height) and their labels."""

    points: tuple[tuple[float, float], ...]
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Step:
    """One frame that was run. outputs: None while a later pass will still change the frame."""

    frame: int
    outputs: Outputs | None


class TrackSession:
    """One video with its prompts on a video model."""

    def __init__(
        self,
        model: Sam3VideoInferenceWithInstanceInteractivity,
        video: Path,
        phrase: str | None,
        objects: tuple[Described, ...],
        frame: int,
    ) -> None:
        """Opens the video; a phrase, objects, or both, on frame number ``frame``."""
        self._model = model
        self._state: VideoSession = model.init_state(resource_path=str(video))
        self._phrase, self._objects, self._frame = phrase, objects, frame
        self._clicked: set[int] = set()

    @property
    def steps(self) -> int:
        """How many steps :meth:`run` gives."""
        passes = (self._phrase is not None) + bool(self._objects)
        return passes * self._state.num_frames

    def phrase_of(self, obj_id: int) -> str:
        """What an object was found by; empty for one that was described."""
        return "" if obj_id in self._clicked else self._phrase or ""

    def run(self) -> Iterator[Step]:
        """Run every frame; once for the phrase, then once for the described objects."""
        if self._phrase is not None:
            self._model.add_prompt(self._state, self._frame, text_str=self._phrase)
            for frame, outputs in self._both_ways():
                yield Step(frame, None if self._objects else outputs)
        if self._objects:
            self._describe()
            for frame, outputs in self._both_ways():
                yield Step(frame, outputs)

    def _describe(self) -> None:
        first = self._state.tracker_metadata.max_obj_id + 1
        for obj_id, described in enumerate(self._objects, start=first):
            self._model.add_prompt(
                self._state,
                self._frame,
                points=described.points,
                point_labels=described.labels,
                obj_id=obj_id,
            )
            self._clicked.add(obj_id)

    def _both_ways(self) -> Iterator[tuple[int, Any]]:
        """From the prompted frame to the end, then to the beginning."""
        for reverse in (False, True) if self._frame > 0 else (False,):
            yield from self._model.propagate_in_video(
                self._state, start_frame_idx=self._frame, reverse=reverse
            )


def describe(options: TrackOptions, clip: Clip) -> tuple[Described, ...]:
    """The described objects, in parts of the frame.

    Raises:
        InputError: the video has no frame ``options.frame``, or a point or box reaches beyond
            the frame.
    """
    if options.frame >= clip.frame_count:
        raise InputError(
            f"{clip.path} has no frame {options.frame}: its frames are 0 to "
            f"{clip.frame_count - 1}. Choose another --frame."
        )
    return tuple(_described(group, options.units, clip.size) for group in options.objects)


def _described(regions: tuple[Region, ...], units: str, size: tuple[int, int]) -> Described:
    points: list[tuple[float, float]] = []
    labels: list[int] = []
    for region in sorted(regions, key=lambda r: len(r.coordinates) != 4):  # the box first
        values = [v / size[i % 2] for i, v in enumerate(region.in_pixels(units, size))]
        if any(not 0.0 <= value <= 1.0 for value in values):
            kind = "box" if len(values) == 4 else "point"
            raise InputError(
                f"The {kind} {region.written()} reaches beyond the frame of {size[0]} x {size[1]} "
                f"pixels: x is 0 to {size[0]}, y is 0 to {size[1]}."
            )
        points += zip(values[::2], values[1::2], strict=True)
        labels += BOX_CORNERS if len(values) == 4 else [int(region.positive)]
    return Described(tuple(points), tuple(labels))

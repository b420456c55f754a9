"""Command line of ``track``, checked and typed."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from .options import (
    ModelOptions,
    Region,
    add_model_arguments,
    check_regions,
    model_options,
    numbers,
    share,
    whole,
)
from .sources import names_picture

MASK_KINDS = ("png", "packed", "none")
MOST_FRAMES = 10**9

EPILOG = """\
video and text
  VIDEO is a video file, a folder of pictures (in natural order) or one picture. Its text is one
  phrase:  track clip.mp4 "red circle"   or  track clip.mp4 -p "red circle"
  What the text means is looked for on every frame: objects may come and go.

points and boxes
  They describe objects to follow, by themselves or besides what the text finds, on frame --frame:
    track clip.mp4 --box 40,30,200,160 --point 60,50,0
  All of them describe one object; --object starts another one with what follows it:
    track clip.mp4 --point 120,80 --object --point 300,90 --point 310,40,0
  A point's label is 1 (on the object) or 0 (not on it); an object has one box at most.
  Coordinates count from the top left corner of the upright frame, in pixels, or with
  --units normalized in parts of its width and height (0 to 1).
  With a text and points the video is run twice: for the text, then for the described objects;
  a frame is finished when the second run has been over it.

frames
  From --frame the video is run to its end and then, from there, back to its start.

outputs, for VIDEO.mp4
  VIDEO_overlay.mp4        objects with contours, boxes, numbers and scores (small videos enlarged)
  VIDEO_masks/00000.png    one label map a frame: 0 is no object, id + 1 an object
  VIDEO.json               per frame ids, scores and boxes (x0, y0, x1, y1 in pixels, x1 and y1
                           beyond the last one); with --masks packed COCO RLE masks, too

  The result goes to the standard output: path, frames, objects, JSON file, separated by tabs (or
  one JSON object with --json). Messages and progress go to the standard error.

interruption
  Ctrl-C keeps all that is finished: masks, the JSON file ("complete": false) and the overlay of
  the finished frames. --resume with the same arguments goes on: nothing is done again for a whole
  video. A tracker's memory is not kept, so a video that was interrupted while it was tracked is
  tracked again from --frame; finished frames keep their results, the others get those of an
  uninterrupted run. One that was interrupted while its overlay was drawn needs no tracking.

exit codes
  0  done, or had been done before (--resume)
  1  the video cannot be read, or something failed on the way; finished frames are kept
  2  wrong usage
  3  the model was not found, could not be downloaded, has no tracker, or its file is unusable
  4  the device or the precision is not available here
  130  interrupted
"""


@dataclass(frozen=True, kw_only=True)
class TrackOptions(ModelOptions):
    """Everything ``track`` was asked for.

    Attributes:
        objects: points and boxes of every object that was described.
        confidence: None leaves the model's own thresholds.
        fps: frames per second of the overlay; None takes the video's.
    """

    video: Path
    prompt: str | None
    objects: tuple[tuple[Region, ...], ...] = ()
    units: str = "pixels"
    frame: int = 0
    confidence: float | None = None
    output: Path = Path("outputs")
    masks: str = "png"
    fps: float | None = None
    resume: bool = False
    json: bool = False

    def fingerprint(self, model_file: Path) -> dict[str, Any]:
        """The settings that decide the outputs; see :meth:`ModelOptions.made_with`."""
        decides = "prompt objects units frame confidence precision masks fps".split()
        return self.made_with(model_file, decides)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``track``."""
    parser.add_argument("video", metavar="VIDEO", help="a video, a folder of pictures, a picture")
    parser.add_argument("text", nargs="?", metavar="TEXT", help="what to find")
    parser.add_argument("-p", "--prompt", action="append", metavar="TEXT", help="the same")
    group = add_model_arguments(parser)
    group.add_argument(
        "--confidence",
        type=share,
        metavar="0..1",
        help="least score of what the text finds (0.5; 0.7 to begin on a later frame)",
    )
    group = parser.add_argument_group("points and boxes")
    group.add_argument("--point", action=Mark, type=point, metavar="X,Y[,LABEL]")
    group.add_argument("--negative-point", action=Mark, type=negative_point, metavar="X,Y")
    group.add_argument("--box", action=Mark, type=box, metavar="X0,Y0,X1,Y1")
    group.add_argument("--object", action=Mark, nargs=0, help="what follows is another object")
    group.add_argument("--units", choices=("pixels", "normalized"), default="pixels")
    group.add_argument("--frame", type=frame_number, default=0, metavar="N", help="prompted (0)")
    group = parser.add_argument_group("outputs")
    group.add_argument("-o", "--output", type=Path, default=Path("outputs"), metavar="DIR")
    group.add_argument(
        "--masks", choices=MASK_KINDS, default="png", help="label maps, RLE in the JSON, or none"
    )
    group.add_argument(
        "--fps", type=frame_rate, metavar="N", help="of the overlay (the video's; 24 for pictures)"
    )
    group.add_argument("--resume", action="store_true", help="go on after an interruption")
    group.add_argument("--json", action="store_true", help="print one JSON object at the end")


class Mark(argparse.Action):
    """Collects points, boxes and the starts of objects in the order they were written in."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Add a Region, or None where another object starts."""
        mark = values if isinstance(values, Region) else None
        namespace.marks = [*getattr(namespace, "marks", []), mark]


def read_options(arguments: argparse.Namespace) -> TrackOptions:
    """Checked options of parsed arguments.

    Args:
        arguments: from a parser with :func:`add_arguments`.

    Raises:
        InputError: what is missing or contradicts itself.
    """
    phrase = _phrase(arguments.text, arguments.prompt)
    objects = _objects(getattr(arguments, "marks", []))
    if phrase is None and not objects:
        raise InputError(
            'Say what to track: a text, as in  track VIDEO "red circle" , points (--point X,Y) or '
            "a box (--box X0,Y0,X1,Y1)."
        )
    check_regions((region for group in objects for region in group), arguments.units)
    return TrackOptions(
        video=Path(arguments.video).expanduser(),
        prompt=phrase,
        objects=objects,
        units=arguments.units,
        frame=arguments.frame,
        confidence=arguments.confidence,
        output=arguments.output,
        masks=arguments.masks,
        fps=arguments.fps,
        resume=arguments.resume,
        json=arguments.json,
        **model_options(arguments),
    )


def _phrase(text: str | None, prompts: list[str] | None) -> str | None:
    """The one phrase, white space collapsed; None where no text was given."""
    from ..pipeline.phrases import DEFAULT_PHRASE, split_phrases

    given = [t for t in (text, *(prompts or ())) if t is not None]
    if not given:
        return None
    if text is not None and text.strip() and not prompts and names_picture(text):
        raise InputError(
            f"{text!r} is a file or folder: one video is tracked at a time. The text comes after "
            'the video, or with -p "red circle".'
        )
    phrases = split_phrases("\n".join(given))
    if phrases == [DEFAULT_PHRASE] and DEFAULT_PHRASE not in " ".join(given).casefold():
        raise InputError('The text is empty. Say what to find, as in  track VIDEO "red circle" .')
    if len(phrases) > 1:
        raise InputError(
            f"One phrase is tracked at a time, got {len(phrases)}: {', '.join(phrases)}. Run track "
            "once for each, with an --output of its own."
        )
    return phrases[0]


def _objects(marks: Sequence[Region | None]) -> tuple[tuple[Region, ...], ...]:
    """Points and boxes of each object."""
    groups: list[list[Region]] = [[]]
    for place, mark in enumerate(marks):
        if mark is not None:
            groups[-1].append(mark)
        elif place > 0:  # the first object needs no announcement
            groups.append([])
    if not marks:
        return ()
    for place, group in enumerate(groups, start=1):
        boxes = [region for region in group if len(region.coordinates) == 4]
        if not any(region.positive for region in group):
            raise InputError(
                "Every object needs a point on it (--point X,Y) or a box (--box X0,Y0,X1,Y1), "
                f"after --object where it is another one; object {place} of {len(groups)} has none."
            )
        if len(boxes) > 1:
            raise InputError(
                f"An object takes one box, got {' and '.join(b.written() for b in boxes)}. Write "
                "--object between boxes of different objects."
            )
    return tuple(tuple(group) for group in groups)


def point(text: str) -> Region:
    """Parser of ``X,Y`` or ``X,Y,LABEL`` with label 1 (on the object, the default) or 0."""
    values = numbers(3 if text.count(",") == 2 else 2)(text)
    label = values[2] if len(values) == 3 else 1.0
    if label not in (0.0, 1.0):
        raise argparse.ArgumentTypeError(
            f"{text!r}: the label must be 1 (on the object) or 0 (not on it)"
        )
    return Region(values[:2], positive=label == 1.0)


def negative_point(text: str) -> Region:
    """Parser of ``X,Y``, a point that is not on the object."""
    return Region(numbers(2)(text), positive=False)


def box(text: str) -> Region:
    """Parser of ``X0,Y0,X1,Y1``."""
    return Region(numbers(4)(text), positive=True)


def frame_number(text: str) -> int:
    """Parser of a frame's number."""
    return whole(text, 0, MOST_FRAMES)


def frame_rate(text: str) -> float:
    """Parser of a number of frames per second."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.1 <= value <= 1000.0:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number from 0.1 to 1000")
    return value

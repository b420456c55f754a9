"""Command line of ``segment``, checked and typed; what ``track`` shares with it."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from .sources import names_picture

DEFAULT_MODEL = "sam3"
PRECISIONS = ("auto", "fp32", "bf16", "fp16")

EPILOG = """\
pictures and phrases
  The last argument is the text, the others are pictures:  segment a.png "red circle"
  Several phrases are separated by commas, or given one by one:  -p "red circle" -p dog
  With -p, or with boxes or points alone, every argument is a picture.
  Folders stand for the pictures in them; globs may be quoted ("photos/**/*.jpg").

boxes and points
  Coordinates count from the top left corner of the upright picture, in pixels, or with
  --units normalized in parts of its width and height (0 to 1). They hold for every picture.
  Boxes say "find things like this one", points "here"; the negative ones the opposite.

outputs, for PICTURE.png
  PICTURE_cutout.png   what was found, on transparency or on the background colour
  PICTURE_mask.png     union of all masks, 8-bit grey
  PICTURE_overlay.png  instances with contours, boxes, phrases and scores
  PICTURE.json         boxes (x0, y0, x1, y1 in pixels), scores and COCO RLE masks

  Results go to the standard output, one line a picture: path, number of instances, best score,
  JSON file, separated by tabs (or one JSON object with --json). Messages go to the standard error.

exit codes
  0  every picture was done, or had been done before (--resume)
  1  some pictures failed, the others were done
  2  wrong usage
  3  the model was not found, could not be downloaded, or its file is unusable
  4  the device or the precision is not available here
  130  interrupted
"""


@dataclass(frozen=True)
class Region:
    """A box (4 numbers, x0 y0 x1 y1) or a point (2 numbers, x y) as the user gave it."""

    coordinates: tuple[float, ...]
    positive: bool

    def in_pixels(self, units: str, size: tuple[int, int]) -> list[float]:
        """Coordinates in pixels of a picture of ``size`` (W, H).

        Args:
            units: "pixels" or "normalized": what the coordinates are in.
            size: of the upright picture.
        """
        if units == "pixels":
            return list(self.coordinates)
        # x stand at even places, y at odd ones
        return [value * size[i % 2] for i, value in enumerate(self.coordinates)]

    def written(self) -> str:
        """The coordinates as the user writes them."""
        return ",".join(f"{v:g}" for v in self.coordinates)


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model, where from, and how it runs."""

    model: str = DEFAULT_MODEL
    models_folders: tuple[Path, ...] = ()
    download: bool = True
    device: str | None = None
    precision: str = "auto"

    def made_with(self, model_file: Path, names: Iterable[str]) -> dict[str, Any]:
        """Version, weights and the named settings as JSON-able values, for ``--resume``.

        Args:
            model_file: the resolved weights; their size and time of change belong to it.
            names: fields that decide the outputs.
        """
        from .. import __version__

        stat = model_file.stat()
        values = asdict(self)
        return {
            "sam3": __version__,
            "model": {
                "name": self.model,
                "file": model_file.name,
                "bytes": stat.st_size,
                "mtime_ns": stat.st_mtime_ns,
            },
            **{name: values[name] for name in names},
        }


@dataclass(frozen=True, kw_only=True)
class SegmentOptions(ModelOptions):
    """Everything ``segment`` was asked for."""

    pictures: tuple[str, ...]
    prompt: str | None
    output: Path = Path("outputs")
    recursive: bool = False
    resume: bool = False
    confidence: float = 0.5
    background: str = "alpha"
    background_color: str = "#222222"
    blur: int = 0
    offset: int = 0
    invert: bool = False
    boxes: tuple[Region, ...] = ()
    points: tuple[Region, ...] = ()
    units: str = "pixels"
    json: bool = False

    def fingerprint(self, model_file: Path) -> dict[str, Any]:
        """The settings that decide the outputs, as JSON-able values, for ``--resume``.

        Args:
            model_file: the resolved weights; their size and time of change belong to it.
        """
        decides = (
            "prompt confidence background background_color blur offset invert precision "
            "boxes points units"
        ).split()
        return self.made_with(model_file, decides)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``segment``."""
    parser.add_argument("pictures", nargs="*", metavar="PICTURE", help="file, folder or glob")
    parser.add_argument("-p", "--prompt", action="append", metavar="TEXT", help="what to find")
    group = add_model_arguments(parser)
    group.add_argument("--confidence", type=share, default=0.5, metavar="0..1", help="(0.5)")
    group = parser.add_argument_group("boxes and points")
    for name, shape in (("box", "X0,Y0,X1,Y1"), ("point", "X,Y")):
        count = shape.count(",") + 1
        for sign in ("", "negative-"):
            group.add_argument(
                f"--{sign}{name}",
                action="append",
                type=numbers(count),
                default=[],
                metavar=shape,
                help="may be repeated",
            )
    group.add_argument("--units", choices=("pixels", "normalized"), default="pixels")
    group = parser.add_argument_group("outputs")
    group.add_argument("-o", "--output", type=Path, default=Path("outputs"), metavar="DIR")
    group.add_argument("--recursive", action="store_true", help="search sub-folders of folders too")
    group.add_argument("--resume", action="store_true", help="skip pictures that are done")
    group.add_argument("--background", choices=("alpha", "color"), default="alpha")
    group.add_argument("--background-color", default="#222222", metavar="COLOR")
    group.add_argument(
        "--offset", type=_offset, default=0, metavar="PX", help="grow (+), shrink (-)"
    )
    group.add_argument("--blur", type=_blur, default=0, metavar="PX", help="soften the mask's edge")
    group.add_argument("--invert", action="store_true", help="keep what was not found")
    group.add_argument("--json", action="store_true", help="print one JSON object at the end")


def add_model_arguments(parser: argparse.ArgumentParser) -> Any:
    """Declare the options of :class:`ModelOptions`; gives their group."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "-m",
        "--model",
        default=DEFAULT_MODEL,
        help="sam3, sam3.1, sam3-tiny (bundled, shapes only), a file name or a path (%(default)s)",
    )
    group.add_argument(
        "--models-folder",
        action="append",
        type=Path,
        default=[],
        metavar="DIR",
        help="look for weights here first, and download to the first one; may be repeated",
    )
    group.add_argument("--no-download", action="store_true", help="use files on disk only")
    group.add_argument("--device", help="cpu, cuda, cuda:1, mps ... (default: the best one)")
    group.add_argument("--precision", choices=PRECISIONS, default="auto")
    return group


def model_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fields of :class:`ModelOptions` from parsed arguments."""
    return {
        "model": arguments.model,
        "models_folders": tuple(arguments.models_folder),
        "download": not arguments.no_download,
        "device": arguments.device,
        "precision": arguments.precision,
    }


def read_options(arguments: argparse.Namespace) -> SegmentOptions:
    """Checked options of parsed arguments.

    Args:
        arguments: from a parser with :func:`add_arguments`.

    Raises:
        InputError: what is missing or contradicts itself, or an unreadable colour.
    """
    from ..pipeline.colors import parse_color

    boxes = _regions(arguments.box, arguments.negative_box)
    points = _regions(arguments.point, arguments.negative_point)
    pictures, prompt = _pictures_and_prompt(
        arguments.pictures, arguments.prompt, bool(boxes or points)
    )
    check_regions((*boxes, *points), arguments.units)
    parse_color(arguments.background_color)
    return SegmentOptions(
        pictures=tuple(pictures),
        prompt=prompt,
        output=arguments.output,
        recursive=arguments.recursive,
        resume=arguments.resume,
        confidence=arguments.confidence,
        background=arguments.background,
        background_color=arguments.background_color,
        blur=arguments.blur,
        offset=arguments.offset,
        invert=arguments.invert,
        boxes=boxes,
        points=points,
        units=arguments.units,
        json=arguments.json,
        **model_options(arguments),
    )


def _pictures_and_prompt(
    positional: list[str], prompts: list[str] | None, has_regions: bool
) -> tuple[list[str], str | None]:
    """Tell pictures from the text: the last argument is the text unless it came otherwise."""
    if prompts is not None:
        pictures, prompt = positional, "\n".join(prompts)
    elif not positional:
        pictures, prompt = [], None
    elif names_picture(positional[-1]):
        if not has_regions:
            raise InputError(
                f"The last argument must be the text to look for, but {positional[-1]!r} is a "
                'file or folder. Write the text last, as in: segment PICTURE "red circle", or '
                'give it with -p "red circle".'
            )
        pictures, prompt = positional, None
    else:
        pictures, prompt = positional[:-1], positional[-1]
    if not pictures:
        raise InputError('No picture was named. Usage: segment PICTURE... "red circle"')
    return pictures, prompt


def _regions(positive: list[tuple[float, ...]], negative: list[tuple[float, ...]]) -> Any:
    return tuple([Region(c, True) for c in positive] + [Region(c, False) for c in negative])


def check_regions(regions: Iterable[Region], units: str) -> None:
    """InputError for an empty box, and for numbers that are not normalized where they should be."""
    for region in regions:
        if len(region.coordinates) == 4:
            x0, y0, x1, y1 = region.coordinates
            if not (x0 < x1 and y0 < y1):
                raise InputError(
                    f"The box {region.written()} is empty: give X0,Y0,X1,Y1 with X0 < X1 and "
                    "Y0 < Y1 (left, top, right, bottom)."
                )
        if units == "normalized" and not all(0.0 <= v <= 1.0 for v in region.coordinates):
            raise InputError(
                f"{region.written()} is not normalized: with --units normalized every number is "
                "from 0 to 1. Leave the option out for pixels."
            )


def numbers(count: int) -> Any:
    """Parser of ``count`` finite numbers separated by commas, as a tuple."""

    def parse(text: str) -> tuple[float, ...]:
        try:
            values = tuple(float(part) for part in text.split(","))
        except ValueError:
            values = ()
        if len(values) != count or not all(map(math.isfinite, values)):
            raise argparse.ArgumentTypeError(
                f"{text!r} must be {count} numbers separated by commas, without blanks"
            )
        return values

    return parse


def share(text: str) -> float:
    """Parser of a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number from 0 to 1")
    return value


def whole(text: str, low: int, high: int) -> int:
    """A whole number of a range, both ends included."""
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from {low} to {high}")
    return value


def _offset(text: str) -> int:
    return whole(text, -4096, 4096)


def _blur(text: str) -> int:
    return whole(text, 0, 1024)

"""Command line of ``finetune``, checked and typed."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .options import share, whole

if TYPE_CHECKING:
    from ..train.finetune.recipe import FinetuneRecipe
    from ..train.finetune.settings import FinetuneSettings

EPILOG = """\
data
  A Roboflow export in COCO format (train/_annotations.coco.json, valid/..., test/...), a folder
  with pictures and one COCO file, or the COCO file itself. Masks (polygons or RLE) are trained
  where there are any, else boxes alone. Category names are the phrases; --prompts cat='tabby cat'
  asks for something else. Without a validation split a share of the pictures is held out.

outputs, in OUTPUT
  model.safetensors     the checkpoint, in the layout of the one it started from
  report.md, report.json  AP on the validation pictures before and after, and the settings
  training/, evaluation/  what --resume needs, predictions

parts, for --freeze
  trunk neck text geometry encoder decoder scores masks; "none" frees all of them

exit codes
  0  trained; 2  wrong usage or data; 3  unusable checkpoint; 4  device or precision not available
  130  interrupted: go on with --resume
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``finetune``."""
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="DIR|FILE", help="labelled pictures, see below")
    add("--checkpoint", required=True, help="path or model name, as for segment --model")
    add("-o", "--output", type=Path, required=True, metavar="DIR")
    group = parser.add_argument_group("data")
    add = group.add_argument
    add("--images", type=Path, metavar="DIR", help="the pictures, where they are elsewhere")
    add("--validation", type=Path, metavar="FILE", help="COCO file to measure on")
    add("--hold-out", type=share, default=0.2, metavar="0..1", help="without one (%(default)s)")
    add("--bad-data", choices=("stop", "skip"), default="stop", help="on errors (%(default)s)")
    add("--prompts", nargs="+", type=_renaming, default=[], metavar="NAME=PHRASE")
    _add_learning(parser.add_argument_group("learning (defaults depend on the model)"))
    group = parser.add_argument_group("run")
    add = group.add_argument
    add("--device", help="auto, cpu, cuda, cuda:1, mps ... (auto)")
    add("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    add("--threads", type=_positive, help="of the processor")
    add("--workers", type=_count, default=0, help="processes that make batches (%(default)s)")
    add("--seed", type=_count, default=0)
    add("--resume", action="store_true", help="go on where the run in OUTPUT stopped")
    add(
        "--transformers",
        action="store_true",
        help="also write OUTPUT/transformers for Sam3Model.from_pretrained",
    )


def _add_learning(group: Any) -> None:
    length = group.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=_above_zero)
    length.add_argument("--steps", type=_positive)
    length.add_argument("--minutes", type=_above_zero)
    add = group.add_argument
    add("--batch-size", type=_positive, metavar="N", help="pictures")
    add("--accumulation", type=_positive, metavar="N", help="batches in a step")
    add("--lr-scale", type=_above_zero, metavar="X", help="factor on all learning rates")
    add("--freeze", nargs="+", default=None, metavar="PART", help="parts that do not learn")
    add("--masks", action=argparse.BooleanOptionalAction, help="train masks where there are any")
    add("--lora", type=_positive, metavar="RANK", help="train adapters (needs peft)")
    add("--replay", type=share, metavar="0..1", help="share of drawn scenes (sam3-tiny)")
    for name, meaning in (("flip", "probability of mirroring"), ("tone", "changes of light")):
        add(f"--{name}", type=share, metavar="0..1", help=meaning)
    add("--degrees", type=float, metavar="0..180", help="largest turn of a picture")
    add("--zoom", type=float, metavar="X", help="largest factor, 1 = none")


def read_settings(arguments: argparse.Namespace, checkpoint: Path) -> FinetuneSettings:
    """Checked settings of parsed arguments; ``checkpoint`` is the resolved file.

    Raises InputError for what contradicts itself.
    """
    from ..train.finetune.settings import DataSettings, FinetuneSettings

    data = DataSettings(
        data=arguments.data,
        images=arguments.images,
        validation=arguments.validation,
        hold_out=arguments.hold_out,
        bad_data=arguments.bad_data,
        prompts=dict(arguments.prompts),
        seed=arguments.seed,
    )
    return FinetuneSettings(
        checkpoint=checkpoint,
        output=arguments.output,
        data=data,
        device=None if arguments.device == "auto" else arguments.device,
        precision=arguments.precision,
        resume=arguments.resume,
        transformers=arguments.transformers,
        threads=arguments.threads,
        workers=arguments.workers,
    )


def recipe_changes(arguments: argparse.Namespace) -> Callable[[FinetuneRecipe], FinetuneRecipe]:
    """What the arguments change about a model's recipe."""

    def adjust(recipe: FinetuneRecipe) -> FinetuneRecipe:
        lengths = {name: getattr(arguments, name) for name in ("epochs", "steps", "minutes")}
        if any(value is not None for value in lengths.values()):
            recipe = recipe.with_length(**lengths)
        given = {
            "batch_size": arguments.batch_size,
            "accumulation": arguments.accumulation,
            "frozen": _frozen(arguments.freeze),
            "masks": arguments.masks,
            "lora_rank": arguments.lora,
            "replay": arguments.replay,
        }
        names = ("flip", "degrees", "zoom", "tone")
        changes = {name: getattr(arguments, name) for name in names}
        return replace(
            recipe,
            lr=recipe.lr * (arguments.lr_scale or 1.0),
            changes=replace(recipe.changes, **_given(changes)),
            **_given(given),
        )

    return adjust


def _frozen(names: list[str] | None) -> tuple[str, ...] | None:
    return () if names == ["none"] else None if names is None else tuple(names)


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _renaming(text: str) -> tuple[str, str]:
    name, equals, phrase = text.partition("=")
    if not (name and equals and phrase.strip()):
        raise argparse.ArgumentTypeError(f"{text!r} must be NAME=PHRASE, as in cat='tabby cat'")
    return name, phrase.strip()


def _positive(text: str) -> int:
    return whole(text, 1, 10**9)


def _count(text: str) -> int:
    return whole(text, 0, 10**9)


def _above_zero(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} must be a number above 0")
    return value

"""The command that trains the tiny tracker; see ``python -m sam3.train.tiny.tracking --help``."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ....errors import Sam3Error
from ...loop.conf import read_conf
from ...loop.config import TrainConfig
from .recipe import TrackingRecipe
from .training import TrackingRun, draw_clips, train

logger = logging.getLogger(__name__)


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="python -m sam3.train.tiny.tracking",
        description="Train second neck and tracker of the tiny SAM 3 on drawn clips, on top of a "
        "trained image model, and export both as sam3_tiny.safetensors.",
    )
    p.add_argument("--image-checkpoint", type=Path, required=True, help="the trained image model")
    p.add_argument("--out", type=Path, required=True, help="folder for everything")
    length = p.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, help="length in minutes (default 60)")
    length.add_argument("--steps", type=int, help="length in steps: repeats exactly")
    p.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    p.add_argument(
        "--start", type=Path, help="exported file of an earlier run: its neck and tracker go on"
    )
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--clips", type=int, default=4096, help="how many to draw (default 4096)")
    p.add_argument("--clip-seed", type=int, help="of the drawn clips (default: --seed)")
    p.add_argument("--clip-folder", type=Path, help="where to (default OUT/clips)")
    p.add_argument(
        "--workers",
        type=int,
        default=1,
        help="processes that draw clips; beside another device than the CPU also make batches",
    )
    p.add_argument("--frames", type=int, default=TrackingRecipe.frames, help="frames per batch")
    p.add_argument("--pictures", type=int, default=TrackingRecipe.pictures)
    p.add_argument(
        "--picture-stage",
        type=float,
        default=TrackingRecipe.picture_stage,
        help="share of the training that sees single pictures only",
    )
    p.add_argument("--neck-lr", type=float, default=TrackingRecipe.neck_lr, help="factor on --lr")
    p.add_argument("--objects", type=int, default=TrackingRecipe.objects, help="per clip")
    p.add_argument(
        "--recipe",
        type=_fields,
        default={},
        metavar="JSON",
        help="""further fields of TrackingRecipe, such as '{"picture_share": 0.1}'""",
    )
    p.add_argument("--device", default=TrainConfig.device, help="cpu (default), cuda, mps ...")
    p.add_argument("--lr", type=float, default=TrainConfig.lr)
    p.add_argument("--warmup-steps", type=int, default=60)
    p.add_argument("--hold", type=float, default=0.3, help="share of constant learning rate")
    p.add_argument("--evaluate-minutes", type=float, default=TrainConfig.evaluate_minutes)
    p.add_argument("--checkpoint-minutes", type=float, default=TrainConfig.checkpoint_minutes)
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line entry; exit code 0 = trained, 3 = stopped early (resumable), 2 = error."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        run = run_of(options)
        seed = options.seed if options.clip_seed is None else options.clip_seed
        draw_clips(run, options.clips, seed, options.workers)
        result = train(run)
    except (Sam3Error, FloatingPointError) as error:
        logger.error("%s", error)
        return 2
    if not result.finished:
        logger.info("stopped at step %d; --resume goes on from there", result.step)
        return 3
    return 0


def run_of(options: argparse.Namespace) -> TrackingRun:
    """The run that the options describe."""
    minutes = options.minutes
    if minutes is None and options.steps is None:
        minutes = 60.0
    return TrackingRun(
        image_checkpoint=options.image_checkpoint,
        out=options.out,
        clips=options.clip_folder or options.out / "clips",
        train=TrainConfig(
            steps=options.steps,
            minutes=minutes,
            seed=options.seed,
            lr=options.lr,
            warmup_steps=options.warmup_steps,
            hold=options.hold,
            evaluate_minutes=options.evaluate_minutes,
            checkpoint_minutes=options.checkpoint_minutes,
            threads=1,
            device=options.device,
            workers=0 if options.device == "cpu" else options.workers,
        ),
        recipe=_recipe(options),
        start=options.start,
        resume=options.resume,
    )


def _recipe(options: argparse.Namespace) -> TrackingRecipe:
    chosen = {
        "frames": options.frames,
        "pictures": options.pictures,
        "picture_stage": options.picture_stage,
        # who was trained before knows already that prompts are for places
        "place_stage": 0.0 if options.start else TrackingRecipe.place_stage,
        "neck_lr": options.neck_lr,
        "objects": options.objects,
    }
    return read_conf(TrackingRecipe, chosen | options.recipe)


def _fields(text: str) -> dict[str, Any]:
    try:
        given = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON ({error})") from error
    if not isinstance(given, dict):
        raise argparse.ArgumentTypeError(f"{text!r} is not a JSON object with fields as names")
    return {name: _tuples(value) for name, value in given.items()}


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value

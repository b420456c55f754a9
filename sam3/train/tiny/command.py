"""The command that trains the tiny checkpoint; see ``python -m sam3.train.tiny --help``."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from ...errors import Sam3Error
from ..loop.config import TrainConfig
from ..loop.parallel import run_parallel
from ..loop.step_trainer import TrainResult
from .recipe import TinyRecipe
from .stages import TinyRun, draw_scenes, train

logger = logging.getLogger(__name__)


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="python -m sam3.train.tiny",
        description="Train the tiny SAM 3 on drawn scenes and export sam3_tiny.safetensors.",
    )
    p.add_argument("--out", type=Path, required=True, help="folder for everything")
    length = p.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, help="length in minutes (default 120)")
    length.add_argument("--steps", type=int, help="length in steps: repeats exactly")
    p.add_argument("--processes", type=int, default=1, help="processes of one thread each")
    p.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    p.add_argument("--start", type=Path, help="weights to start from, without a coarse stage")
    p.add_argument(
        "--trunk-share",
        type=float,
        default=TinyRecipe.trunk_share,
        help="share of the time for the trunk alone (default %(default)s, 0 = no such stage)",
    )
    p.add_argument(
        "--text-share",
        type=float,
        default=TinyRecipe.text_share,
        help="the same for the text encoder (default %(default)s)",
    )
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--scenes", type=int, default=32000, help="how many to draw (default 32000)")
    p.add_argument("--scene-seed", type=int, help="of the drawn scenes (default: --seed)")
    p.add_argument("--scene-folder", type=Path, help="where to (default OUT/scenes)")
    p.add_argument("--images", type=int, default=TinyRecipe.images, help="pictures per batch")
    p.add_argument("--phrases", type=int, default=TinyRecipe.phrases, help="questions per picture")
    p.add_argument("--lr", type=float, default=TrainConfig.lr)
    p.add_argument(
        "--hold",
        type=float,
        default=TrainConfig.hold,
        help="share of a stage at the full learning rate, before it falls (default %(default)s)",
    )
    p.add_argument(
        "--positive-weight", type=float, default=TinyRecipe.positive_weight, help="see TinyRecipe"
    )
    p.add_argument(
        "--class-weight",
        type=float,
        default=TinyRecipe.classification,
        help="of the class loss (default %(default)s)",
    )
    p.add_argument("--evaluate-minutes", type=float, default=TrainConfig.evaluate_minutes)
    p.add_argument("--checkpoint-minutes", type=float, default=TrainConfig.checkpoint_minutes)
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line entry; exit code 0 = trained, 3 = stopped early (resumable), 2 = error."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    minutes = options.minutes
    if minutes is None and options.steps is None:
        minutes = 120.0
    try:
        run = TinyRun(
            out=options.out,
            scenes=options.scene_folder or options.out / "scenes",
            train=TrainConfig(
                steps=options.steps,
                minutes=minutes,
                seed=options.seed,
                lr=options.lr,
                hold=options.hold,
                evaluate_minutes=options.evaluate_minutes,
                checkpoint_minutes=options.checkpoint_minutes,
                threads=1,
            ),
            recipe=TinyRecipe(
                images=options.images,
                phrases=options.phrases,
                trunk_share=options.trunk_share,
                text_share=options.text_share,
                positive_weight=options.positive_weight,
                classification=options.class_weight,
            ),
            resume=options.resume,
            start=options.start,
        )
        scene_seed = options.seed if options.scene_seed is None else options.scene_seed
        draw_scenes(run, options.scenes, scene_seed, options.processes)
        result: TrainResult = run_parallel(train, options.processes, run)
    except (Sam3Error, FloatingPointError) as error:
        logger.error("%s", error)
        return 2
    if not result.finished:
        logger.info("stopped at step %d; --resume goes on from there", result.step)
        return 3
    return 0

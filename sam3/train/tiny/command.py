"""The command that trains the tiny checkpoint; see ``python -m sam3.train.tiny --help``."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ...checkpoint import save_checkpoint
from ...config import Sam3ImageConfig, presets
from ...errors import Sam3Error
from ...model.sam3_image import Sam3Image
from ...model_builder import build_sam3_image_model
from ..data.scenes.prerender import PrerenderConfig, prerender
from ..loop.config import TrainConfig
from ..loop.parallel import ProcessGroup, run_parallel
from ..trainer import Trainer, TrainResult
from .attributes import AttributeBatches, AttributeClassifier, attribute_loss
from .evaluation import QuickEvaluation
from .grow import coarse_config, load_grown
from .initialise import initialise
from .objective import CurriculumSource, TinyObjective, describe_batch
from .recipe import TinyRecipe, make_loss, make_matcher

logger = logging.getLogger(__name__)

State = Mapping[str, Tensor]

CHECKPOINT_NAME = "sam3_tiny.safetensors"
HELD_OUT_SEED_OFFSET = 1_000_003  # scenes of the quick evaluation come from another seed
HELD_OUT_SCENES = 192
MASK_STRIDE = 4  # masks have four times the resolution of the token grid


@dataclass(frozen=True, kw_only=True)
class TinyRun:
    """Everything a process of the run needs to know; picklable.

    Attributes:
        out: folder of checkpoints, log, scenes and the exported model.
        scenes: folder with ``train`` and ``held_out`` scenes.
        resume: go on from the newest checkpoint in ``out``.
        start: trained weights to start from; then there is no coarse stage.
    """

    out: Path
    scenes: Path
    train: TrainConfig
    recipe: TinyRecipe
    config: Sam3ImageConfig = presets.SAM3_TINY
    resume: bool = False
    start: Path | None = None

    def stage(self, share: float, *, hold: float | None = None) -> TinyRun:
        """The settings of a stage that gets this share of the time."""
        train = replace(
            self.train,
            steps=None if self.train.steps is None else max(1, round(self.train.steps * share)),
            minutes=None if self.train.minutes is None else self.train.minutes * share,
            hold=self.train.hold if hold is None else hold,
        )
        return replace(self, train=train)

    def trunk_stage(self) -> TinyRun:
        """The stage that trains the trunk alone."""
        stage = self.stage(self.recipe.trunk_share)
        recipe = replace(self.recipe, images=self.recipe.trunk_images)
        return replace(stage, recipe=recipe, out=self.out / "trunk")

    def coarse_stage(self) -> TinyRun:
        """The stage of the whole model on a coarse token grid."""
        stage = self.stage(self.coarse_share, hold=1.0)
        config = coarse_config(self.config, self.recipe.coarse_side)
        return replace(stage, config=config, out=self.out / "coarse")

    def fine_stage(self) -> TinyRun:
        """The stage of the whole model at full size."""
        stage = self.stage(1 - self.recipe.trunk_share - self.coarse_share)
        return replace(stage, recipe=replace(self.recipe, simple_share=0.0))

    @property
    def coarse_share(self) -> float:
        """Share of the time for the coarse stage; trained weights need none."""
        return 0.0 if self.start is not None else self.recipe.coarse_share

    @property
    def mask_size(self) -> int:
        """Side of the model's masks."""
        return self.config.vision.grid * MASK_STRIDE


def draw_scenes(run: TinyRun, count: int, seed: int, workers: int) -> None:
    """Draw what is missing of the training and held-out scenes."""
    side = run.config.vision.img_size
    for name, number, offset in (
        ("train", count, 1),
        ("held_out", HELD_OUT_SCENES, HELD_OUT_SEED_OFFSET),
    ):
        config = PrerenderConfig(scenes=number, resolution=side, seed=seed + offset)
        prerender(run.scenes / name, config, workers)


def build_model(run: TinyRun) -> Sam3Image:
    """A fresh tiny model with the starting values of the recipe."""
    torch.manual_seed(run.train.seed)
    model = build_sam3_image_model(
        config=run.config,
        device="cpu",
        load_from_HF=False,
        eval_mode=False,
        matcher=make_matcher(),
    )
    initialise(model, run.recipe)
    model.masks_of_positives_only = True  # the losses average over prompts with an object
    # The convolutions of the mask head are the largest cost; this layout saves a tenth of a step.
    return model.to(memory_format=torch.channels_last)


def train(run: TinyRun) -> TrainResult:
    """Train in this process (one of several, if a process group is set up); export on the leader.

    Up to three stages, each in its own folder: the trunk alone, the whole model on a coarse token
    grid (left out with ``run.start``), the whole model at full size.
    """
    state = starting_state(run)
    if run.recipe.trunk_share > 0:
        result, state = train_trunk(run.trunk_stage(), state)
        if not result.finished:
            return result
    if run.coarse_share > 0:
        result, trainer = train_stage(run.coarse_stage(), state, seed=0)
        if not result.finished:
            return result
        with trainer.ema.averaged():
            state = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    result, trainer = train_stage(run.fine_stage(), state, seed=1)
    if trainer.group.is_leader:
        with trainer.ema.averaged():
            export(trainer.model, run.out / CHECKPOINT_NAME)
    return result


def starting_state(run: TinyRun) -> State:
    """The weights of ``run.start``, or those of a fresh model."""
    if run.start is None:
        return build_model(run).state_dict()
    return build_sam3_image_model(checkpoint_path=run.start, device="cpu").state_dict()


def train_trunk(run: TinyRun, start: State) -> tuple[TrainResult, State]:
    """Train the trunk to name colours, shapes and patterns; returns the whole model's weights."""
    model = build_model(run)
    model.load_state_dict(start)
    vision = run.config.vision
    trunk = model.backbone.vision_backbone.trunk
    trainer = Trainer(
        AttributeClassifier(trunk, vision.embed_dim),
        attribute_loss,
        AttributeBatches(
            run.scenes / "train", run.recipe.images, grid=vision.grid, seed=run.train.seed
        ),
        config=run.train,
        folder=run.out,
    )
    result = trainer.run(resume=run.resume)
    with trainer.ema.averaged():
        return result, {name: tensor.clone() for name, tensor in model.state_dict().items()}


def train_stage(run: TinyRun, start: State, *, seed: int) -> tuple[TrainResult, Trainer]:
    """Train one stage of the whole model from the weights ``start``; ``seed`` moves its data."""
    model = build_model(run)
    load_grown(model, start)
    side = run.config.vision.img_size
    evaluate = None
    if ProcessGroup().is_leader:
        evaluate = QuickEvaluation(
            run.scenes / "held_out", HELD_OUT_SCENES, side=side, mask_size=run.mask_size
        )
    trainer = Trainer(
        model,
        TinyObjective(make_loss(run.recipe, run.config.decoder.num_queries), run.recipe),
        CurriculumSource(
            run.scenes / "train",
            run.recipe,
            side=side,
            mask_size=run.mask_size,
            seed=run.train.seed + seed,
        ),
        config=run.train,
        folder=run.out,
        evaluate=evaluate,
        describe=describe_batch,
    )
    return trainer.run(resume=run.resume), trainer


def export(model: Sam3Image, path: Path) -> Path:
    """Write the model as float16 safetensors with its configuration; returns the path."""
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_checkpoint(state, path, config=model.config.to_dict(), dtype=torch.float16)
    logger.info("wrote %s, %.2f MB", path, path.stat().st_size / 1e6)
    return path


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
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--scenes", type=int, default=32000, help="how many to draw (default 32000)")
    p.add_argument("--scene-seed", type=int, help="of the drawn scenes (default: --seed)")
    p.add_argument("--scene-folder", type=Path, help="where to (default OUT/scenes)")
    p.add_argument("--images", type=int, default=TinyRecipe.images, help="pictures per batch")
    p.add_argument("--phrases", type=int, default=TinyRecipe.phrases, help="questions per picture")
    p.add_argument("--lr", type=float, default=TrainConfig.lr)
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
                evaluate_minutes=options.evaluate_minutes,
                checkpoint_minutes=options.checkpoint_minutes,
                threads=1,
            ),
            recipe=TinyRecipe(
                images=options.images, phrases=options.phrases, trunk_share=options.trunk_share
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

"""The stages of the tiny training: text encoder, trunk, whole model coarse, whole model fine."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...checkpoint import save_checkpoint
from ...config import Sam3ImageConfig, presets
from ...model.sam3_image import Sam3Image
from ...model_builder import build_sam3_image_model
from ..data.scenes.prerender import PrerenderConfig, prerender
from ..loop.config import TrainConfig
from ..loop.parallel import ProcessGroup
from ..loop.step_trainer import BatchSource, Objective, StepTrainer, TrainResult, make_adamw
from .attributes import AttributeBatches, AttributeClassifier, attribute_loss
from .evaluation import QuickEvaluation
from .grow import coarse_config, load_grown
from .initialise import initialise
from .objective import (
    MASK_STRIDE,
    CurriculumSource,
    SupervisedModel,
    TinyObjective,
    describe_batch,
)
from .recipe import TinyRecipe, make_loss, make_matcher
from .wording import PhraseBatches, PhraseClassifier, PhraseObjective

logger = logging.getLogger(__name__)

CHECKPOINT_NAME = "sam3_tiny.safetensors"
HELD_OUT_SEED_OFFSET = 1_000_003  # scenes of the quick evaluation come from another seed
HELD_OUT_SCENES = 192
TRUNK = "model.backbone.vision_backbone.trunk."  # of a SupervisedModel


@dataclass(frozen=True, kw_only=True)
class TinyRun:
    """Everything a process of the run needs to know; picklable.

    Attributes:
        out: folder of checkpoints, log, scenes and the exported model.
        scenes: folder with ``train`` and ``held_out`` scenes.
        resume: go on from the newest checkpoint in ``out``.
        start: trained weights, perhaps of a coarser grid; then there is no coarse stage.
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

    def text_stage(self) -> TinyRun:
        """The stage that trains the text encoder alone."""
        return replace(self.stage(self.recipe.text_share), out=self.out / "text")

    def trunk_stage(self) -> TinyRun:
        """The stage that trains the trunk alone."""
        return replace(self.stage(self.recipe.trunk_share), out=self.out / "trunk")

    def coarse_stage(self) -> TinyRun:
        """The stage of the whole model on a coarse token grid."""
        stage = self.stage(self.coarse_share, hold=1.0)
        config = coarse_config(self.config, self.recipe.coarse_side)
        return replace(stage, config=config, out=self.out / "coarse")

    def fine_stage(self) -> TinyRun:
        """The stage of the whole model at full size, in the time that is left."""
        earlier = self.recipe.text_share + self.recipe.trunk_share + self.coarse_share
        stage = self.stage(1 - earlier)
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


def build_model(run: TinyRun, bpe_path: str | None = None) -> Sam3Image:
    """A fresh tiny model with the starting values of the recipe; bpe_path: its vocabulary."""
    torch.manual_seed(run.train.seed)
    model = build_sam3_image_model(
        bpe_path=bpe_path,
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

    Up to four stages, each in its own folder: the text encoder alone, the trunk alone, the whole
    model on a coarse token grid (left out with ``run.start``), the whole model at full size.
    """
    model = build_model(run)
    if run.start is not None:
        trained = build_sam3_image_model(checkpoint_path=run.start, device="cpu")
        load_grown(model, trained.state_dict())
    supervised = SupervisedModel(model)
    stages: list[tuple[float, Callable[[], TrainResult]]] = [
        (run.recipe.text_share, lambda: train_text(run.text_stage(), supervised)),
        (run.recipe.trunk_share, lambda: train_trunk(run.trunk_stage(), supervised)),
        (run.coarse_share, lambda: train_coarse(run.coarse_stage(), supervised)),
        (1.0, lambda: train_whole(run.fine_stage(), supervised, seed=1)),
    ]
    for share, stage in stages:
        if share > 0:
            result = stage()
            if not result.finished:
                return result
    if ProcessGroup().is_leader:
        export(model, run.out / CHECKPOINT_NAME)
    return result


def train_text(run: TinyRun, supervised: SupervisedModel) -> TrainResult:
    """Train the text encoder to say what a phrase names."""
    language = supervised.model.backbone.language_backbone
    classifier = PhraseClassifier(language, supervised.word_head)
    phrases = PhraseBatches(run.recipe.text_phrases, seed=run.train.seed)
    return run_trainer(run, classifier, PhraseObjective(run.recipe), phrases)


def train_trunk(run: TinyRun, supervised: SupervisedModel) -> TrainResult:
    """Train the trunk to name colours, shapes and patterns."""
    trunk = supervised.model.backbone.vision_backbone.trunk
    classifier = AttributeClassifier(trunk, supervised.cell_head)
    grid = run.config.vision.grid
    pictures = AttributeBatches(
        run.scenes / "train", run.recipe.trunk_images, grid=grid, seed=run.train.seed
    )
    return run_trainer(run, classifier, attribute_loss, pictures)


def train_coarse(run: TinyRun, supervised: SupervisedModel) -> TrainResult:
    """Train a copy on a coarse token grid and take over its weights."""
    coarse = SupervisedModel(build_model(run))
    load_grown(coarse, supervised.state_dict())
    result = train_whole(run, coarse, seed=0)
    load_grown(supervised, coarse.state_dict())
    return result


def train_whole(run: TinyRun, supervised: SupervisedModel, *, seed: int) -> TrainResult:
    """Train the whole model; ``seed`` moves the data of the stage."""
    side = run.config.vision.img_size
    scales = {TRUNK: run.recipe.trunk_lr}
    options: dict[str, Any] = {
        "describe": describe_batch,
        "optimizer_factory": partial(make_adamw, lr_scales=scales),
    }
    if ProcessGroup().is_leader:
        quick = QuickEvaluation(
            run.scenes / "held_out", HELD_OUT_SCENES, side=side, mask_size=run.mask_size
        )
        options["evaluate"] = lambda trained, step: quick(trained.model, step)
    source = CurriculumSource(
        run.scenes / "train",
        run.recipe,
        side=side,
        mask_size=run.mask_size,
        seed=run.train.seed + seed,
    )
    loss = make_loss(run.recipe, run.config.decoder.num_queries)
    return run_trainer(run, supervised, TinyObjective(loss, run.recipe), source, **options)


def run_trainer(
    run: TinyRun, model: nn.Module, loss: Objective, source: BatchSource, **options: Any
) -> TrainResult:
    """Train ``model`` in the run's folder; the averaged weights are left in it."""
    trainer = StepTrainer(model, loss, source, config=run.train, folder=run.out, **options)
    result = trainer.run(resume=run.resume)
    with trainer.ema.averaged():
        averaged = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(averaged)
    return result


def export(model: Sam3Image, path: Path) -> Path:
    """Write the model as float16 safetensors with its configuration; returns the path."""
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_checkpoint(state, path, config=model.config.to_dict(), dtype=torch.float16)
    logger.info("wrote %s, %.2f MB", path, path.stat().st_size / 1e6)
    return path

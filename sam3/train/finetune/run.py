"""A fine-tuning from data and checkpoint to a measured model; ``finetune`` is the entry point."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...checkpoint import RawCheckpoint, read_checkpoint
from ...config import Sam3ImageConfig, presets
from ...errors import CheckpointMismatchError, InputError
from ...eval.files import read_json, write_json
from ...model.sam3_image import Sam3Image
from ...model_builder import build_sam3_image_model, config_of, pick_device
from ...precision import resolve_precision
from ..eval.report_parts import environment
from ..loop.config import TrainConfig
from ..loop.step_trainer import StepTrainer, TrainResult
from .anchor import TextAnchor, drawn_phrases
from .batches import FinetuneBatches, describe_batch, training_set
from .cutouts import Paster, cut_out
from .data import FinetuneData, load_data
from .evaluation import Validation
from .export import (
    MODEL_FILE,
    TRANSFORMERS_FOLDER,
    check_transformers,
    export,
    export_transformers,
)
from .lora import add_adapters, merged_state
from .objective import FinetuneObjective, make_matcher
from .rates import freeze, make_optimizer, make_schedule
from .recipe import FinetuneRecipe, recipe_for
from .replay import SceneReplay
from .report import write_report
from .settings import FinetuneSettings

logger = logging.getLogger(__name__)

Adjust = Callable[[FinetuneRecipe], FinetuneRecipe]

_ANCHOR_PHRASES = 1024
_MASK_STRIDE = 4  # masks have four times the resolution of the token grid
_PLAN_FILE, _BEFORE_FILE = "plan.json", "before.json"
_TRAINING, _EVALUATION = "training", "evaluation"


@dataclass(frozen=True)
class FinetuneResult:
    """How a run ended.

    finished: False if it was interrupted and can be resumed; steps: done in all; before, after:
    statistics of the validation pictures (after: of the saved file); model: that file.
    """

    finished: bool
    steps: int
    before: dict[str, float]
    after: dict[str, float]
    model: Path


class PrecisionWrapper(nn.Module):
    """An image model whose forward pass computes in half precision where that is safe."""

    def __init__(self, model: Sam3Image, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.model = model
        self.dtype = dtype

    def forward(self, batch: Any) -> Any:
        """The model's outputs on a batch."""
        with self._context():
            return self.model(batch)

    def _context(self) -> AbstractContextManager[Any]:
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(self.model.device.type, dtype=self.dtype)


def finetune(settings: FinetuneSettings, adjust: Adjust = lambda recipe: recipe) -> FinetuneResult:
    """Check the data, measure, train, save, measure the saved file, report.

    Args:
        settings: what to do.
        adjust: changes the recipe of the model.

    Raises:
        DataError: see ``data.load_data``.
        CheckpointError: an unusable file, or one without an image model.
        InputError: an output folder in use, or one of another run with ``resume``.
        FloatingPointError: the loss diverged.
    """
    data = load_data(settings.data)
    raw = read_checkpoint(settings.checkpoint)
    _check_has_image_model(raw)
    config = config_of(raw)
    recipe = adjust(recipe_for(config))
    if settings.transformers:
        check_transformers(config)
    if recipe.replay and config.name != presets.SAM3_TINY.name:
        raise InputError(
            "--replay mixes in drawn shapes, which is what sam3-tiny knows; other models are "
            "protected by --lora or --freeze"
        )
    _claim_folder(settings, recipe)
    run = _Run(settings, recipe, data, raw, config)
    before = run.measure_before()
    result, state = run.train()
    model = settings.output / MODEL_FILE
    if not result.finished:
        return FinetuneResult(False, result.step, before, {}, model)
    note = {"phrases": list(data.train.phrases), "steps": result.step}
    export(state, raw, model, config, note)
    if settings.transformers:
        export_transformers(state, raw, settings.output / TRANSFORMERS_FOLDER, config)
    after = run.measure_file(model, "after")
    write_report(settings.output, run.report(before, after, result))
    return FinetuneResult(True, result.step, before, after, model)


def _check_has_image_model(raw: RawCheckpoint) -> None:
    if not raw.layout_details.image:
        held = "only a tracker" if raw.layout_details.tracker else "no tensor of SAM 3"
        raise CheckpointMismatchError(
            f"{raw.path} holds {held}, but fine-tuning trains the image model: give a file that "
            "has it, such as sam3.pt or model.safetensors of facebook/sam3"
        )


def _claim_folder(settings: FinetuneSettings, recipe: FinetuneRecipe) -> None:
    """Note the plan in the output folder, or with ``resume`` compare it with the one there."""
    path = settings.output / _PLAN_FILE
    plan = json.loads(json.dumps({"recipe": asdict(recipe), **_inputs(settings)}))
    if path.exists():
        if not settings.resume:
            raise InputError(
                f"{settings.output} holds a fine-tuning already: go on with --resume, or choose "
                "another --output"
            )
        there = read_json(path)
        changed = [name for name in plan if there.get(name) != plan[name]]
        if changed:
            raise InputError(
                f"{settings.output} was begun with another {' and another '.join(changed)}: "
                "resume with the same options, or choose another --output"
            )
    write_json(path, plan)


def _inputs(settings: FinetuneSettings) -> dict[str, Any]:
    """What has to be the same for a run to go on."""
    d = settings.data
    return {
        "checkpoint": settings.checkpoint.name,
        "data": [str(d.data), str(d.images), str(d.validation), d.hold_out, d.seed],
        "prompts": dict(d.prompts),
    }


class _Run:
    """The steps of ``finetune`` and what they share."""

    def __init__(
        self,
        settings: FinetuneSettings,
        recipe: FinetuneRecipe,
        data: FinetuneData,
        raw: RawCheckpoint,
        config: Sam3ImageConfig,
    ) -> None:
        self.settings, self.recipe, self.data = settings, recipe, data
        self.raw, self.config = raw, config
        self.device = pick_device(settings.device)
        self.tiny = config.name == presets.SAM3_TINY.name
        self.masks = data.train.has_masks and recipe.masks
        self.started, self.cpu_seconds = time.perf_counter(), 0.0
        self.validation = Validation(
            data.valid, settings.output / _EVALUATION, config.vision.img_size
        )
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)

    def measure_before(self) -> dict[str, float]:
        """Statistics of the checkpoint as it is; kept for a resumed run."""
        path = self.settings.output / _BEFORE_FILE
        if not path.exists():
            write_json(path, self.measure_file(self.settings.checkpoint, "before"))
        return dict(read_json(path))

    def measure_file(self, path: Path, name: str) -> dict[str, float]:
        """Statistics of a checkpoint, loaded as users load it; ``name`` of its predictions."""
        model = build_sam3_image_model(checkpoint_path=path, device=self.device)
        if not self.data.valid.has_masks:
            model.segmentation_head = None
        wrapped = PrecisionWrapper(model, self._half())
        return self.validation.measure(wrapped, name)

    def train(self) -> tuple[TrainResult, dict[str, Tensor]]:
        """Train; returns how it ended and the averaged, merged weights by image-model name."""
        torch.manual_seed(self.settings.data.seed)
        model = self._model()
        wrapped = PrecisionWrapper(model, self._half())
        batches = self._batches()
        trainer = StepTrainer(
            wrapped,
            self._objective(model),
            batches,
            config=self._train_config(batches.batches_per_epoch),
            folder=self.settings.output / _TRAINING,
            optimizer_factory=lambda *_: make_optimizer(model, self.recipe),
            describe=describe_batch,
        )
        trainer.schedule = make_schedule(self.recipe)
        begun = time.process_time()
        result = trainer.run(resume=self.settings.resume)
        self.cpu_seconds = time.process_time() - begun
        with trainer.ema.averaged():
            return result, merged_state(model)

    def report(
        self, before: dict[str, float], after: dict[str, float], result: TrainResult
    ) -> dict[str, Any]:
        """Everything that ``report.write_report`` tells."""
        on_gpu = self.device.type != "cpu" and torch.cuda.is_available()
        return {
            "checkpoint": self.settings.checkpoint.name,
            "phrases": list(self.data.train.phrases),
            "training": self.data.train.describe(),
            "validation": self.data.validation_source,
            "validation_size": self.data.valid.describe(),
            "steps": result.step,
            "seconds": round(time.perf_counter() - self.started, 1),
            "cpu_seconds": round(self.cpu_seconds, 1),
            "gpu_memory_gib": torch.cuda.max_memory_allocated() / 2**30 if on_gpu else None,
            "before": before,
            "after": after,
            "recipe": asdict(self.recipe),
            "environment": environment(),
        }

    def _half(self) -> torch.dtype | None:
        """Dtype of mixed precision, None for float32."""
        policy = resolve_precision(self.settings.precision, self.device)
        if self.settings.precision == "auto" and (self.device.type == "cpu" or self.tiny):
            return None
        # float16 has too small a range for gradients without scaling them
        return None if policy.dtype == torch.float32 else torch.bfloat16

    def _model(self) -> Sam3Image:
        model = build_sam3_image_model(
            checkpoint_path=self.settings.checkpoint,
            device=self.device,
            eval_mode=False,
            matcher=make_matcher(),
            use_act_checkpoint=not self.tiny,
        )
        if not self.masks:
            model.segmentation_head = None  # the export takes it from the checkpoint
        model.masks_of_positives_only = True  # the losses average over prompts with an object
        frozen, rank = self.recipe.frozen, self.recipe.lora_rank
        if rank:
            logger.info("adapters in %d layers", add_adapters(model, rank, frozen))
        learning = freeze(model, frozen)
        logger.info("%.2f million weights learn", learning / 1e6)
        # The convolutions of the mask head are the largest cost on CPUs; this layout helps them.
        return model.to(memory_format=torch.channels_last) if self.tiny else model

    def _objective(self, model: Sam3Image) -> FinetuneObjective:
        weights, anchor = self.recipe.loss, None
        if weights.anchor:
            anchor = TextAnchor(model.backbone.language_backbone, drawn_phrases(_ANCHOR_PHRASES))
        queries = self.config.decoder.num_queries
        return FinetuneObjective(weights, queries, masks=self.masks, anchor=anchor)

    def _batches(self) -> FinetuneBatches:
        side, seed = self.config.vision.img_size, self.settings.data.seed
        pictures = self.data.train
        replay = None
        if self.recipe.replay:
            changes = self.recipe.changes
            paster = Paster(cut_out(pictures, side, seed), changes.degrees, changes.zoom)
            replay = SceneReplay(side, pictures.phrases, paster, seed=seed)
        return FinetuneBatches(
            training_set(pictures, self.recipe, side),
            self.recipe,
            seed=seed,
            mask_size=self.config.vision.grid * _MASK_STRIDE if self.masks else None,
            replay=replay,
        )

    def _train_config(self, batches_per_epoch: float) -> TrainConfig:
        recipe = self.recipe
        steps = recipe.steps
        if recipe.epochs is not None:
            steps = max(1, math.ceil(recipe.epochs * batches_per_epoch / recipe.accumulation))
        return TrainConfig(
            steps=steps,
            minutes=recipe.minutes,
            accumulation=recipe.accumulation,
            lr=recipe.lr,
            clip=recipe.clip,
            ema_decay=recipe.average,
            seed=self.settings.data.seed,
            checkpoint_minutes=self.settings.checkpoint_minutes,
            threads=self.settings.threads,
            device=str(self.device),
            workers=self.settings.workers,
        )

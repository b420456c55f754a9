"""From an image checkpoint and clips to one file with image model and tracker."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ....builders.video import assemble_video_model, build_sam3_video_model
from ....checkpoint.save import save_checkpoint
from ....config import Sam3TrackerConfig, presets
from ....config.video import Sam3VideoConfig
from ....errors import InputError
from ....model.sam3_video_inference import Sam3VideoInferenceWithInstanceInteractivity
from ....model_builder import build_sam3_image_model
from ...data.scenes.clip_dataset import ClipFolder
from ...data.scenes.prerender_clips import ClipPrerenderConfig, prerender_clips
from ...loop.config import TrainConfig
from ...loop.step_trainer import StepTrainer, TrainResult, make_adamw
from .batches import TrackingBatches
from .evaluation import QuickEvaluation
from .initialise import initialise
from .model import WindowTracker
from .objective import TrackingObjective
from .recipe import TrackingRecipe

logger = logging.getLogger(__name__)

CHECKPOINT_NAME = "sam3_tiny.safetensors"
HELD_OUT_CLIPS = 16
SECOND_NECK = "backbone.vision_backbone.sam2_convs."


@dataclass(frozen=True, kw_only=True)
class TrackingRun:
    """Everything a run needs to know.

    Attributes:
        image_checkpoint: file of the image model, which is not trained.
        out: folder of training checkpoints, log and the exported model.
        clips: folder with ``train`` and ``held_out`` clips.
        tracker: sizes of the tracker.
        start: file of an earlier run, whose second neck and tracker are trained further.
        resume: go on from the newest training checkpoint in ``out``.
    """

    image_checkpoint: Path
    out: Path
    clips: Path
    train: TrainConfig
    recipe: TrackingRecipe
    tracker: Sam3TrackerConfig = presets.SAM3_TINY_TRACKER
    start: Path | None = None
    resume: bool = False


def draw_clips(run: TrackingRun, count: int, seed: int, workers: int = 1) -> None:
    """Draw what is missing of the training and held-out clips."""
    side = run.tracker.image_size
    for name, number, held_out in (("train", count, False), ("held_out", HELD_OUT_CLIPS, True)):
        config = ClipPrerenderConfig(clips=number, resolution=side, seed=seed, held_out=held_out)
        prerender_clips(run.clips / name, config, workers)


def build_model(run: TrackingRun) -> Sam3VideoInferenceWithInstanceInteractivity:
    """The video model with trained image weights.

    The second neck begins as a copy of the detector's, or with the tracker as ``run.start`` has
    them. InputError if the image model does not fit the tracker.
    """
    torch.manual_seed(run.train.seed)
    image = build_sam3_image_model(checkpoint_path=run.image_checkpoint, device="cpu")
    vision = image.config.vision
    sizes = (vision.img_size, vision.patch_size, image.config.d_model)
    wanted = (run.tracker.image_size, run.tracker.patch_size, run.tracker.d_model)
    if sizes != wanted:
        raise InputError(
            f"{run.image_checkpoint} has pictures, patches and width {sizes}, the tracker needs "
            f"{wanted}"
        )
    video = assemble_video_model(Sam3VideoConfig(image=image.config, tracker=run.tracker))
    detector: Any = video.detector
    lacking = detector.load_state_dict(image.state_dict(), strict=False).missing_keys
    assert all(name.startswith(SECOND_NECK) for name in lacking), lacking
    neck = detector.backbone.vision_backbone
    if run.start is None:
        initialise(neck, video.tracker)
    else:
        earlier: Any = build_sam3_video_model(checkpoint_path=run.start, device="cpu")
        earlier_neck = earlier.detector.backbone.vision_backbone
        neck.sam2_convs.load_state_dict(earlier_neck.sam2_convs.state_dict())
        video.tracker.load_state_dict(earlier.tracker.state_dict())
    return video.to(memory_format=torch.channels_last)


def train(run: TrackingRun) -> TrainResult:
    """Train in this process and export; a run that was stopped early is resumable."""
    video = build_model(run)
    detector: Any = video.detector
    model = WindowTracker(detector.backbone.vision_backbone, video.tracker, run.recipe)
    trainer = StepTrainer(
        model,
        TrackingObjective(run.recipe),
        TrackingBatches(ClipFolder(run.clips / "train"), run.recipe, seed=run.train.seed),
        config=run.train,
        folder=run.out,
        optimizer_factory=partial(make_adamw, lr_scales={"features.": run.recipe.neck_lr}),
        evaluate=QuickEvaluation(ClipFolder(run.clips / "held_out")),
    )
    result = trainer.run(resume=run.resume)
    if result.finished:
        with trainer.ema.averaged():
            export(video, run, run.out / CHECKPOINT_NAME)
    return result


def export(
    video: Sam3VideoInferenceWithInstanceInteractivity, run: TrackingRun, path: Path
) -> Path:
    """Write detector and tracker as float16 safetensors with both configurations."""
    state = {name: tensor.cpu().contiguous() for name, tensor in video.state_dict().items()}
    detector: Any = video.detector
    save_checkpoint(
        state,
        path,
        config=detector.config.to_dict(),
        tracker_config=run.tracker.to_dict(),
        dtype=torch.float16,
    )
    logger.info("wrote %s, %.2f MB", path, path.stat().st_size / 1e6)
    return path

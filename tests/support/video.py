"""Video models over the scripted detector and tracker, and pictures to open sessions on."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import torch
from PIL import Image

from sam3.config.video import VideoRules
from sam3.model.sam3_video_inference import Sam3VideoInferenceWithInstanceInteractivity
from sam3.model.tracker.overlap import (
    apply_object_wise_non_overlapping,
    suppress_object_area_shrinkage,
)

from .golden_video import ScriptDetector, ScriptTracker, story, synthetic_image

SEED = 11
GRID = 32
HEIGHT, WIDTH = 48, 64
MASK_OPS = SimpleNamespace(
    _suppress_object_pw_area_shrinkage=suppress_object_area_shrinkage,
    _apply_object_wise_non_overlapping_constraints=apply_object_wise_non_overlapping,
)


def no_features(frame: int) -> dict[str, Any]:
    """Features that nobody reads."""
    levels = [torch.zeros(1, 1, 2, 2) for _ in range(3)]
    return {"backbone_fpn": levels, "vision_pos_enc": levels}


def scripted_model(
    scene: tuple[Any, Any] | None = None, **keywords: Any
) -> Sam3VideoInferenceWithInstanceInteractivity:
    """The released rules (with ``keywords`` over them) on a scripted scene."""
    detections, tracks = story(SEED) if scene is None else scene
    model = Sam3VideoInferenceWithInstanceInteractivity(
        detector=ScriptDetector(detections, GRID, no_features),
        tracker=ScriptTracker(tracks, GRID, MASK_OPS),
        **{**VideoRules().keywords(), **keywords},
    )
    model.image_size = 28
    return model


@cache
def picture(k: int) -> Image.Image:
    """One of three patterns."""
    return Image.fromarray(synthetic_image(SEED + 80 + k, HEIGHT, WIDTH))


def pictures(frames: int = 24) -> list[Image.Image]:
    """Frames that look like something; the script does not look at them."""
    return [picture(k % 3) for k in range(frames)]


def open_session(model: Sam3VideoInferenceWithInstanceInteractivity, frames: int = 24) -> Any:
    """A session on ``frames`` pictures."""
    return model.init_state(resource_path=pictures(frames))


def build_scripted(device: Any = None, **keywords: Any) -> Any:
    """``scripted_model`` as a builder that worker processes can find by name."""
    return scripted_model(**keywords)


def small_config() -> Any:
    """Sizes of :func:`build_tiny`: of ``sam3-tiny`` with a coarser grid."""
    from sam3.builders.interactive import tracker_config_for
    from sam3.config import presets
    from sam3.config.video import Sam3VideoConfig
    from sam3.train.tiny.grow import coarse_config

    image = coarse_config(presets.SAM3_TINY, 144)
    return Sam3VideoConfig(image=image, tracker=tracker_config_for(image))


def build_tiny(device: Any = "cpu") -> Any:
    """The small video model with the same random weights in every process."""
    from sam3.model_builder import build_sam3_video_model

    with torch.random.fork_rng():
        torch.manual_seed(5)
        return build_sam3_video_model(config=small_config(), load_from_HF=False, device=device)


def snapshot(state: Any) -> tuple[Any, ...]:
    """What a bad call must leave as it was; the last value counts restarts and attempts."""
    return (
        state.text_prompt,
        list(state.action_history),
        {frame: sorted(masks) for frame, masks in state.cached_frame_outputs.items()},
        state.tracker_metadata.obj_ids_all_gpu.tolist(),
        [list(tracked["obj_ids"]) for tracked in state.tracker_inference_states],
        state.epoch,
    )

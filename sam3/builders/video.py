"""The video model: detector and tracker together, from configuration and checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch

from ..checkpoint import RawCheckpoint, read_checkpoint
from ..checkpoint.video import load_video_weights
from ..config import Sam3ImageConfig, Sam3TrackerConfig
from ..config.video import Sam3VideoConfig
from ..model.sam3_image_multi_gpu import Sam3ImageOnVideoMultiGPU
from ..model.sam3_video_inference import Sam3VideoInferenceWithInstanceInteractivity
from ..model.sam3_video_predictor import Sam3VideoPredictorMultiGPU
from ..model_builder import (
    assemble_image_model,
    compile_image_model,
    config_of,
    materialize_buffers,
    pick_device,
)
from ..precision import PrecisionPolicy, resolve_precision
from .interactive import tracker_config_of
from .tracker import assemble_tracker

DETECTOR = "detector."


def build_sam3_video_model(
    checkpoint_path: str | Path | None = None,
    load_from_HF: bool = True,
    bpe_path: str | Path | None = None,
    has_presence_token: bool = True,
    geo_encoder_use_img_cross_attn: bool = True,
    strict_state_dict_loading: bool = True,
    apply_temporal_disambiguation: bool = True,
    device: torch.device | str | None = None,
    compile: bool = False,
    *,
    config: Sam3VideoConfig | None = None,
    precision: str | PrecisionPolicy = "fp32",
    **rules: Any,
) -> Sam3VideoInferenceWithInstanceInteractivity:
    """Build the video model and load its weights; it is in evaluation mode.

    checkpoint_path: a SAM 3.0 file with detector and tracker; without one ``load_from_HF`` fetches
    ``facebook/sam3``, and ``load_from_HF=False`` leaves random weights. bpe_path: CLIP vocabulary,
    by default the bundled one. has_presence_token: scores are class times presence.
    apply_temporal_disambiguation: False drops hotstart, routine reconditioning and memory selection
    (ignored when ``config`` is given). device: None picks CUDA, then MPS, then CPU. compile:
    compile the vision trunk and the pixel decoder. precision: "fp32", "bf16", "fp16", "auto" or a
    policy, for the detector; the tracker is kept in float32. rules: published keywords of
    ``Sam3VideoBase`` that differ from the configuration.

    ``model.detector`` is an image model that ``Sam3Processor`` can use, with the same weights.
    geo_encoder_use_img_cross_attn and strict_state_dict_loading have no effect: loading is strict.

    Raises CheckpointError for an unusable file (of SAM 3.1, too), DownloadError without network or
    permission, DeviceError for a missing device, TypeError for unknown rules.
    """
    device = pick_device(device)
    policy = resolve_precision(precision, device)
    if checkpoint_path is None and load_from_HF:
        from ..checkpoint.resolve import resolve_model

        checkpoint_path = resolve_model("sam3")
    raw = None if checkpoint_path is None else read_checkpoint(checkpoint_path)
    config = config or _config_of(raw, apply_temporal_disambiguation)
    with torch.device("cpu" if raw is None else "meta"):
        model = assemble_video_model(
            config, bpe_path=bpe_path, joint_scores=has_presence_token, **rules
        )
    if raw is not None:
        report = load_video_weights(
            model, raw, dtype_for=lambda n, t: _dtype_for(policy, n, t), device=device
        )
        detector: Any = model.detector
        detector.supports_points = report.supports_points
        materialize_buffers(model, device)
    policy.apply_(model.detector)
    model.to(device)
    if compile:
        compile_image_model(cast(Sam3ImageOnVideoMultiGPU, model.detector))
    return model.eval()


def build_sam3_video_predictor(
    *model_args: Any, gpus_to_use: list[int] | None = None, **model_kwargs: Any
) -> Sam3VideoPredictorMultiGPU:
    """A predictor on the model that ``build_sam3_video_model`` builds from the same arguments.

    gpus_to_use: device numbers, one process each; by default this process alone.
    """
    return Sam3VideoPredictorMultiGPU(*model_args, gpus_to_use=gpus_to_use, **model_kwargs)


def assemble_video_model(
    config: Sam3VideoConfig,
    *,
    bpe_path: str | Path | None = None,
    joint_scores: bool = True,
    **rules: Any,
) -> Sam3VideoInferenceWithInstanceInteractivity:
    """The module tree of ``config`` on the default device, with initial weights."""
    detector = assemble_image_model(
        config.image,
        bpe_path=bpe_path,
        add_sam2_neck=True,
        model_class=Sam3ImageOnVideoMultiGPU,
        supervise_joint_box_scores=joint_scores,
    )
    tracker = assemble_tracker(config.tracker, memory_selection=config.memory_selection)
    return Sam3VideoInferenceWithInstanceInteractivity(
        detector=detector,
        tracker=tracker,
        image_size=config.image.vision.img_size,
        **{**config.rules.keywords(), **rules},
    )


def _config_of(raw: RawCheckpoint | None, disambiguation: bool) -> Sam3VideoConfig:
    image: Sam3ImageConfig = config_of(raw)
    tracker: Sam3TrackerConfig = tracker_config_of(raw, image)
    config = Sam3VideoConfig(image=image, tracker=tracker)
    return config if disambiguation else config.without_disambiguation()


def _dtype_for(policy: PrecisionPolicy, name: str, tensor: torch.Tensor) -> torch.dtype | None:
    if not name.startswith(DETECTOR):
        return torch.float32 if tensor.is_floating_point() else None
    return policy.dtype_for(name.removeprefix(DETECTOR), tensor)

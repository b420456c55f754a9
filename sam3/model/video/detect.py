"""Running the detector on one frame: detections, and features for the tracker."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...config.video import DetectionConfig
from .records import Detections, FrameInputs

NOT_COUNTED = 1e8
"""Taken off the scores of a frame on which no detection counts."""


def detect(detector: Any, tracker: Any, inputs: FrameInputs, rules: DetectionConfig) -> Detections:
    """Detections of a frame with a score above the threshold.

    Afterwards ``inputs.feature_cache`` holds this frame's features for the tracker (under the
    frame index, as (image, {"tracker_backbone_out": ...})) and no other frame's.
    """
    out = run_detector(detector, inputs, rules)
    cache = inputs.feature_cache
    for frame in [key for key in cache if isinstance(key, int) and key != inputs.frame_idx]:
        del cache[frame]
    cache[inputs.frame_idx] = (
        inputs.input_batch.img_batch[inputs.frame_idx],
        {"tracker_backbone_out": tracker_features(tracker, out)},
    )
    scores = out["pred_logits"][0].squeeze(-1).float().sigmoid()
    if not inputs.allow_new:
        scores = scores - NOT_COUNTED
    keep = scores > rules.score_threshold
    return Detections(out["pred_boxes_xyxy"][0][keep], out["pred_masks"][0][keep], scores[keep])


def run_detector(detector: Any, inputs: FrameInputs, rules: DetectionConfig) -> dict[str, Any]:
    """Raw detector outputs of the frame; texts are encoded once per session."""
    cache = inputs.feature_cache
    text = tuple(inputs.input_batch.find_text_batch)
    if text not in cache.get("text", {}):
        encoded = detector.backbone.forward_text(list(text), device=device_of(detector))
        cache["text"] = {text: encoded}
    out, _ = detector.forward_video_grounding_multigpu(
        backbone_out={"img_batch_all_stages": inputs.input_batch.img_batch, **cache["text"][text]},
        find_inputs=inputs.input_batch.find_inputs,
        geometric_prompt=inputs.geometric_prompt,
        frame_idx=inputs.frame_idx,
        num_frames=inputs.num_frames,
        multigpu_buffer=cache.setdefault("multigpu_buffer", {}),
        track_in_reverse=inputs.reverse,
        return_tracker_backbone_feats=True,
        run_nms=rules.nms_iou_threshold > 0,
        nms_prob_thresh=rules.score_threshold,
        nms_iou_thresh=rules.nms_iou_threshold,
        **cache.get("tracking_bounds", {}),
    )
    return out


def tracker_features(tracker: Any, out: dict[str, Any]) -> dict[str, Any]:
    """The second pyramid in the form the tracker caches: levels 0 and 1 projected.

    Features take the number format of the tracker's weights, whatever the detector computes in.
    """
    heads = tracker.sam_mask_decoder
    weight = getattr(heads.conv_s0, "weight", None)
    levels = [out[f"tracker_backbone_fpn_{k}"] for k in range(3)]
    if isinstance(weight, Tensor):
        levels = [level.to(weight.dtype) for level in levels]
    levels = [heads.conv_s0(levels[0]), heads.conv_s1(levels[1]), levels[2]]
    return {
        "vision_features": levels[-1],
        "vision_pos_enc": out["tracker_backbone_pos_enc"],
        "backbone_fpn": levels,
    }


def device_of(module: nn.Module) -> torch.device:
    """Device of the module's first parameter; the CPU for a module without any."""
    parameter = next(module.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device

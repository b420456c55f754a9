"""Video models of both sides for the benchmarks: sizes, weights, frames, and one face for stepping.

The number of objects is exact: clicks say it for the tracker; for the whole model the rules let
every detection of the first frame become an object, up to the limit, and keep it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sam3.config import NeckConfig, presets
from sam3.config.video import Sam3VideoConfig, VideoRules
from sam3.model.tracker.image_features import encode_image

from .peer import fill_randomly
from .peer_video import TrackerPeer

PHRASE = "red circle"
PRESENT = "tracker.sam_mask_decoder.pred_obj_score_head.layers.2.bias"
ALL_DETECTIONS = {
    "score_threshold_detection": 0.0,
    "det_nms_thresh": 0.0,
    "new_det_thresh": 0.0,
    "hotstart_delay": 0,
    "hotstart_unmatch_thresh": 0,
    "hotstart_dup_thresh": 0,
    "recondition_every_nth_frame": 0,
    "suppress_overlapping_based_on_recent_occlusion_threshold": 0.0,
    # the peer cleans masks only where an optional package is installed
    "fill_hole_area": 0,
}


def config_of(size: str, objects: int) -> Sam3VideoConfig:
    """The released sizes for "full"; "tiny": small widths that the peer has words for, too."""
    released = presets.SAM3_VIDEO
    keywords = {**VideoRules().keywords(), **ALL_DETECTIONS, "max_num_objects": objects}
    rules = VideoRules.from_keywords(keywords)
    if size == "full":
        return replace(released, rules=rules, memory_selection=False)
    tiny = presets.SAM3_TINY_VIDEO
    image = replace(
        tiny.image,
        name="benchmark-tiny",
        d_model=128,
        neck=NeckConfig(),
        decoder=replace(tiny.image.decoder, num_queries=80),
    )
    tracker = replace(tiny.tracker, d_model=128, memory=replace(tiny.tracker.memory, dim=64))
    return Sam3VideoConfig(image=image, tracker=tracker, rules=rules, memory_selection=False)


def build_ours(
    config: Sam3VideoConfig, checkpoint: Path | None, device: torch.device, **rules: Any
) -> Any:
    """Our video model with a checkpoint's weights, or seeded random ones; objects are there."""
    from sam3.model_builder import build_sam3_video_model

    model = build_sam3_video_model(
        checkpoint_path=checkpoint, load_from_HF=False, config=config, device=device, **rules
    )
    if checkpoint is None:
        state = model.state_dict()
        with torch.no_grad():
            fill_randomly({k: v for k, v in state.items() if not k.endswith("freqs_cis")})
            state[PRESENT].fill_(3.0)
    return model


def limit_objects(ours: Any, theirs: Any, objects: int) -> None:
    """Let both video models (theirs may be None) track so many objects from now on."""
    keywords = {**ours.rules.keywords(), "max_num_objects": objects}
    ours.rules = VideoRules.from_keywords(keywords)
    if theirs is not None:
        assert theirs.max_num_objects, "the peer has no limit of objects"
        theirs.max_num_objects = objects


class MovingFrames:
    """Frames [3, S, S] of a drifting pattern in [-1, 1], made anew each time they are read."""

    def __init__(self, count: int, side: int, device: torch.device | str = "cpu") -> None:
        self.count, self.side, self.device = count, side, device
        coarse = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1
        self.pattern = torch.nn.functional.interpolate(coarse, (2 * side,) * 2, mode="bicubic")[0]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tensor:
        if not 0 <= index < self.count:
            raise IndexError(index)
        # back and forth, so that no frame is ever outside the pattern
        shift = index * 2 % (2 * self.side)
        shift = min(shift, 2 * self.side - shift)
        part = self.pattern[:, shift : shift + self.side, shift : shift + self.side]
        return part.clamp(-1, 1).to(self.device)

    def all(self) -> Tensor:
        """[T, 3, S, S]."""
        return torch.stack([self[t] for t in range(self.count)])


def clicks(objects: int, side: int) -> list[tuple[float, float]]:
    """A point for each object, on a grid, in pixels of the model's square."""
    columns = round(objects**0.5 + 0.499)
    return [
        (side * (i % columns + 0.5) / columns, side * (i // columns + 0.5) / columns)
        for i in range(objects)
    ]


# ---- one frame at a time ----------------------------------------------------------------------


def our_tracker(model: Any, pixels: Tensor, objects: int, features: dict[int, Any]) -> Iterator:
    """Our tracker over frames whose ``features`` are given, from clicks on frame 0."""
    side, tracker = pixels.shape[-1], model.tracker
    state = tracker.init_state(side, side, len(pixels), cached_features=features)
    for obj_id, point in enumerate(clicks(objects, side)):
        tracker.add_new_points_or_box(
            state, 0, obj_id, points=[point], labels=[1], rel_coordinates=False
        )
    return tracker.propagate_in_video(
        state, 0, None, False, tqdm_disable=True, propagate_preflight=True
    )


def our_features(model: Any, pixels: Tensor) -> dict[int, Any]:
    """Features of all frames, as ``cached_features``."""
    heads = model.tracker.sam_mask_decoder
    return {
        t: (x, encode_image(model.detector.backbone, heads, x, x.dtype))
        for t, x in enumerate(pixels.split(1))
    }


def their_features(model: Any, pixels: Tensor) -> TrackerPeer:
    """A session of their tracker that has the features of all frames, and no objects."""
    peer = TrackerPeer(model, pixels, keep_features=len(pixels))
    for _ in their_tracker(peer, 1):
        pass
    peer.session.reset_tracking_data()  # keeps the features
    return peer


def their_tracker(peer: TrackerPeer, objects: int) -> Iterator:
    """Their tracker over the frames of a session without objects, from clicks on frame 0."""
    points = [[list(point)] for point in clicks(objects, peer.side)]
    peer.prompt(0, range(objects), points, [[1]] * objects)
    return peer.track(0)


def our_video(model: Any, frames: Any) -> Iterator:
    """Our whole model with a phrase on frame 0: detection and tracking on every frame."""
    from sam3.model.video.session import new_session

    session = new_session(
        frames,
        (frames[0].shape[-2], frames[0].shape[-1]),
        model.image_size,
        model.device,
        model._empty_metadata(),
        is_image_only=False,
    )
    model.add_prompt(session, 0, text_str=PHRASE)
    return model.propagate_in_video(session, start_frame_idx=0)


def phrase_tokens(model: Any) -> Tensor:
    """The phrase as ids [1, L], 0 where there is none."""
    encoder = model.detector.backbone.language_backbone
    return encoder.tokenizer([PHRASE], context_length=encoder.context_length)


def their_video(model: Any, pixels: Tensor, tokens: Tensor) -> Iterator:
    """Their whole model likewise. tokens: of :func:`phrase_tokens`."""
    import transformers

    session = transformers.Sam3VideoInferenceSession(
        video=pixels,
        video_height=pixels.shape[-2],
        video_width=pixels.shape[-1],
        inference_device=pixels.device,
        inference_state_device=pixels.device,
        video_storage_device=pixels.device,
        dtype=pixels.dtype,
    )
    prompt = session.add_prompt(PHRASE)
    session.prompt_input_ids[prompt] = tokens.to(pixels.device)
    session.prompt_attention_masks[prompt] = (tokens != 0).long().to(pixels.device)
    return model.propagate_in_video_iterator(session, start_frame_idx=0)

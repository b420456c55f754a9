"""transformers' video models beside ours: ``Sam3TrackerVideoModel`` and ``Sam3VideoModel``.

Both are run as black boxes: configurations of the same sizes, the same weights through the key
tables of ``sam3.checkpoint``, prompts through their processor. Two of its sizes are not free: it
can only be built with memories of 64 channels, and works only where pictures have more channels
than that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sam3.checkpoint import to_huggingface
from sam3.checkpoint.huggingface_tracker import tracker_to_huggingface
from sam3.config import Sam3TrackerConfig
from sam3.config.video import Sam3VideoConfig

from .peer import peer_config, vision_words

MEMORY_DIM = 64
DETECTOR, TRACKER = "detector.", "tracker."
TRUNK, NECK = "vision_encoder.backbone.", "vision_encoder.neck."
SECOND_NECK, FIRST_NECK = "vision_backbone.sam2_convs.", "vision_backbone.convs."


def missing_video_peer() -> str | None:
    """Why the peers cannot be used here, or None when they can."""
    try:
        import transformers
    except ImportError as error:
        return f"transformers is not installed ({error}); pip install transformers"
    for name in ("Sam3TrackerVideoModel", "Sam3VideoModel"):
        if not hasattr(transformers, name):
            return f"transformers {transformers.__version__} has no {name}; update it"
    return None


def silence_peer() -> None:
    """Leave its notes out: at its limit of objects it writes one per frame."""
    import transformers

    transformers.logging.set_verbosity_error()


# ---- configurations and weights ---------------------------------------------------------------


def tracker_config(config: Sam3TrackerConfig, vision: Mapping[str, Any]) -> Any:
    """``transformers.Sam3TrackerVideoConfig`` of the same sizes.

    vision: its ``vision_config`` (see :func:`.peer.vision_words`). Raises ValueError for sizes it
    has no word for.
    """
    import transformers

    width, memory, decoder = config.d_model, config.memory, config.decoder
    if memory.dim != MEMORY_DIM or width <= MEMORY_DIM:
        raise ValueError(
            f"the peer needs memories of {MEMORY_DIM} channels and wider features, not"
            f" {memory.dim} and {width}"
        )
    words = transformers.Sam3TrackerVideoConfig(
        vision_config=dict(vision),
        prompt_encoder_config={
            "hidden_size": width,
            "image_size": config.image_size,
            "patch_size": config.patch_size,
            "mask_input_channels": decoder.mask_in_chans,
        },
        mask_decoder_config={
            "hidden_size": width,
            "mlp_dim": decoder.mlp_dim,
            "num_attention_heads": decoder.num_heads,
            "num_hidden_layers": decoder.depth,
            "iou_head_depth": decoder.iou_head_depth,
            "iou_head_hidden_dim": decoder.iou_head_hidden_dim,
            "num_multimask_outputs": decoder.num_multimask_outputs,
        },
        num_maskmem=memory.num_maskmem,
        max_object_pointers_in_encoder=memory.max_obj_ptrs,
        max_cond_frame_num=memory.max_cond_frames,
        memory_attention_hidden_size=width,
        memory_attention_num_layers=memory.layers,
        memory_attention_feed_forward_hidden_size=memory.dim_feedforward,
        memory_attention_rope_feat_sizes=[config.grid, config.grid],
        memory_encoder_hidden_size=width,
        memory_encoder_output_channels=memory.dim,
        mask_downsampler_embed_dim=width,
        memory_fuser_num_layers=memory.fuser_layers,
        memory_fuser_embed_dim=width,
        memory_fuser_intermediate_dim=4 * width,
    )
    words.image_size = config.image_size  # it hands this on to its parts
    return words


def video_config(config: Sam3VideoConfig) -> Any:
    """``transformers.Sam3VideoConfig`` of the same sizes and rules; ValueError as above."""
    import transformers

    vision = vision_words(config.image)
    rules = {k: v for k, v in config.rules.keywords().items() if k in _peer_rules()}
    rules["max_num_objects"] = config.rules.object_limit
    return transformers.Sam3VideoConfig(
        detector_config=peer_config(config.image).to_dict(),
        tracker_config=tracker_config(config.tracker, vision).to_dict(),
        low_res_mask_size=config.tracker.low_res_mask_size,
        **rules,
    )


def _peer_rules() -> set[str]:
    """Names of rules that the peer's configuration knows."""
    import inspect

    import transformers

    return set(inspect.signature(transformers.Sam3VideoConfig).parameters)


def video_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The video model's weights under the names of ``Sam3VideoModel``: all of them, views."""
    detector, neck, tracker = _parts(state)
    second = {n.replace(NECK, "tracker_neck."): t for n, t in neck.items()}
    named = {"detector_model.": detector, "tracker_model.": tracker, "": second}
    return {prefix + n: t for prefix, part in named.items() for n, t in part.items()}


def tracker_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The video model's tracker and vision encoder under the names of ``Sam3TrackerVideoModel``."""
    detector, neck, tracker = _parts(state)
    return {n: t for n, t in detector.items() if n.startswith(TRUNK)} | neck | tracker


def _parts(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], ...]:
    """Detector, the tracker's neck and the tracker, each by the peer's names."""
    own = {n.removeprefix(DETECTOR): t for n, t in state.items() if n.startswith(DETECTOR)}
    neck = {n.replace(SECOND_NECK, FIRST_NECK): t for n, t in own.items() if SECOND_NECK in n}
    detector = {n: t for n, t in own.items() if SECOND_NECK not in n}
    tracker = {n.removeprefix(TRACKER): t for n, t in state.items() if n.startswith(TRACKER)}
    image_parts = [to_huggingface(part, keep_extras=False) for part in (detector, neck)]
    return (*image_parts, tracker_to_huggingface(tracker))


def build_video_peer(
    config: Sam3VideoConfig, state: Mapping[str, Tensor], device: torch.device
) -> Any:
    """``Sam3VideoModel`` with the weights of our video model, which are shared, not copied."""
    import transformers

    model = transformers.Sam3VideoModel(video_config(config))
    model.load_state_dict(video_state(state), strict=True, assign=True)
    return model.to(device).eval()


def build_tracker_peer(
    config: Sam3VideoConfig, state: Mapping[str, Tensor], device: torch.device
) -> Any:
    """``Sam3TrackerVideoModel`` with its vision encoder likewise."""
    import transformers

    words = tracker_config(config.tracker, vision_words(config.image))
    model = transformers.Sam3TrackerVideoModel(words)
    model.load_state_dict(tracker_state(state), strict=True, assign=True)
    return model.to(device).eval()


# ---- sessions ---------------------------------------------------------------------------------


class TrackerPeer:
    """A session of ``Sam3TrackerVideoModel`` on ``pixels`` [T, 3, S, S], as large as the model.

    Coordinates are pixels of that square. ``keep_features``: features of so many frames stay
    between passes.
    """

    def __init__(self, model: Any, pixels: Tensor, keep_features: int = 1) -> None:
        import transformers

        self.model = model
        self.side = side = pixels.shape[-1]
        size = {"height": side, "width": side}
        self.session = transformers.Sam3TrackerVideoInferenceSession(
            video=pixels,
            video_height=side,
            video_width=side,
            inference_device=pixels.device,
            inference_state_device=pixels.device,
            video_storage_device=pixels.device,
            dtype=pixels.dtype,
            max_vision_features_cache_size=keep_features,
        )
        self.processor = transformers.Sam3TrackerVideoProcessor(
            image_processor=transformers.Sam3ImageProcessor(size=size),
            video_processor=transformers.Sam2VideoVideoProcessor(size=size),
            target_size=side,
        )

    def prompt(
        self,
        frame: int,
        obj_ids: Sequence[int],
        points: Any = None,
        labels: Any = None,
        boxes: Any = None,
        masks: Any = None,
    ) -> Any:
        """Prompt objects on a frame, all in one call, and run it; one entry per object.

        points: [P, 2] each, with labels [P]; boxes: [4] each; masks: [S, S] each.
        """
        self.processor.add_inputs_to_inference_session(
            self.session,
            frame_idx=frame,
            obj_ids=list(obj_ids),
            input_points=None if points is None else [points],
            input_labels=None if labels is None else [labels],
            input_boxes=None if boxes is None else [boxes],
            input_masks=masks,
        )
        return self.model(self.session, frame_idx=frame)

    def track(
        self, start: int, count: int | None = None, reverse: bool = False
    ) -> Iterator[tuple[int, Tensor, Tensor]]:
        """(frame, mask logits [N, 1, h, w], score logits [N, 1]) from ``start`` on."""
        steps = self.model.propagate_in_video_iterator(
            self.session, start_frame_idx=start, max_frame_num_to_track=count, reverse=reverse
        )
        for out in steps:
            yield out.frame_idx, out.pred_masks, out.object_score_logits.reshape(-1, 1)


def peer_features(model: Any, pixels: Tensor) -> dict[int, tuple[Tensor, dict[str, Any]]]:
    """Its features of pictures [T, 3, S, S], as ``cached_features`` of our tracker."""
    cached = {}
    for frame, picture in enumerate(pixels.split(1)):
        out = model.get_image_features(picture)
        levels = [_as_map(x) for x in out.fpn_hidden_states]
        codes = [_as_map(x) for x in out.fpn_position_encoding]
        output = {"vision_features": levels[-1], "vision_pos_enc": codes, "backbone_fpn": levels}
        cached[frame] = (picture, output)
    return cached


def _as_map(x: Tensor) -> Tensor:
    """[H * H, 1, C] -> [1, C, H, H]."""
    side = round(x.shape[0] ** 0.5)
    return x.permute(1, 2, 0).unflatten(-1, (side, side))

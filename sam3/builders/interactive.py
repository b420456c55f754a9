"""The interactive predictor of the image model, from configuration."""

from __future__ import annotations

from dataclasses import replace

from ..checkpoint import RawCheckpoint
from ..config import Sam3ImageConfig, Sam3TrackerConfig, presets
from ..errors import CheckpointFormatError
from ..model.interactive_heads import InteractiveHeads
from ..model.sam1_task_predictor import SAM3InteractiveImagePredictor
from ..sam.mask_decoder import MaskDecoder
from ..sam.prompt_encoder import PromptEncoder
from ..sam.transformer import TwoWayTransformer
from .tracker import assemble_tracker


def assemble_interactive_predictor(
    config: Sam3ImageConfig, tracker: Sam3TrackerConfig | None = None
) -> SAM3InteractiveImagePredictor:
    """The predictor that goes with an image model, on the default device, with initial weights.

    tracker: sizes of the tracker it uses, by default those of the preset of the same name. The
    whole tracker is built, without a backbone, so that a file's weights are all in use and can be
    shared with a video model. SAM 3.1 has another tracker; of it only the heads are built.
    """
    tracker = tracker or tracker_config_for(config)
    if tracker.name == presets.SAM31_IMAGE.name:
        return SAM3InteractiveImagePredictor(assemble_interactive_heads(tracker))
    return SAM3InteractiveImagePredictor(assemble_tracker(tracker, memory_selection=False))


def tracker_config_for(config: Sam3ImageConfig) -> Sam3TrackerConfig:
    """The tracker that reads the features of ``config``."""
    if config.name == presets.SAM31_IMAGE.name:
        base = presets.SAM3_TRACKER
        decoder = replace(base.decoder, iou_prediction_use_sigmoid=False)
        base = replace(base, name=config.name, decoder=decoder)
    else:
        try:
            base = presets.get_tracker(config.name)
        except KeyError:
            base = presets.SAM3_TRACKER
    return replace(
        base,
        image_size=config.vision.img_size,
        patch_size=config.vision.patch_size,
        d_model=config.d_model,
    )


def tracker_config_of(raw: RawCheckpoint | None, config: Sam3ImageConfig) -> Sam3TrackerConfig:
    """The tracker configuration in a file's metadata, or the one that goes with ``config``."""
    stored = None if raw is None else raw.tracker_config
    if raw is None or stored is None:
        return tracker_config_for(config)
    try:
        return Sam3TrackerConfig.from_dict(stored)
    except (TypeError, ValueError) as error:
        raise CheckpointFormatError(
            f"{raw.path}: the tracker's configuration in its metadata is not usable ({error});"
            " update this package or get the file again"
        ) from error


def assemble_interactive_heads(tracker: Sam3TrackerConfig) -> InteractiveHeads:
    """Prompt encoder and mask decoder of ``tracker`` without its memory."""
    c, d = tracker, tracker.decoder
    encoder = PromptEncoder(
        c.d_model, (c.grid, c.grid), (c.image_size, c.image_size), d.mask_in_chans
    )
    decoder = MaskDecoder(
        transformer_dim=c.d_model,
        transformer=TwoWayTransformer(d.depth, c.d_model, d.num_heads, d.mlp_dim),
        num_multimask_outputs=d.num_multimask_outputs,
        iou_head_depth=d.iou_head_depth,
        iou_head_hidden_dim=d.iou_head_hidden_dim,
        use_high_res_features=True,
        iou_prediction_use_sigmoid=d.iou_prediction_use_sigmoid,
        dynamic_multimask_via_stability=True,
        dynamic_multimask_stability_delta=d.stability_delta,
        dynamic_multimask_stability_thresh=d.stability_thresh,
        pred_obj_scores=True,
        pred_obj_scores_mlp=True,
        use_multimask_token_for_obj_ptr=True,
    )
    return InteractiveHeads(encoder, decoder, c.image_size)

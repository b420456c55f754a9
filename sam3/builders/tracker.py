"""The tracker, from configuration."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..config import Sam3TrackerConfig
from ..model.decoder import TransformerDecoderLayerv2, TransformerEncoderCrossAttention
from ..model.memory import CXBlock, SimpleFuser, SimpleMaskDownSampler, SimpleMaskEncoder
from ..model.model_misc import TransformerWrapper
from ..model.position_encoding import PositionEmbeddingSine
from ..model.sam3_tracking_predictor import Sam3TrackerPredictor
from ..sam.transformer import RoPEAttention


def assemble_tracker(
    config: Sam3TrackerConfig,
    *,
    memory_selection: bool,
    backbone: nn.Module | None = None,
    compile_all_components: bool = False,
) -> Sam3TrackerPredictor:
    """The module tree of ``config`` on the default device, with initial weights.

    memory_selection: choose memories by their worth (adds no weights).
    backbone: image model with a pyramid for the tracker, if pictures are to be encoded.
    """
    memory, decoder = config.memory, config.decoder
    return Sam3TrackerPredictor(
        backbone=backbone,
        transformer=memory_attention(config),
        maskmem_backbone=mask_memory_encoder(config),
        num_maskmem=memory.num_maskmem,
        image_size=config.image_size,
        backbone_stride=config.patch_size,
        max_cond_frames_in_attn=memory.max_cond_frames,
        keep_first_cond_frame=memory.keep_first_cond_frame,
        max_obj_ptrs_in_encoder=memory.max_obj_ptrs,
        memory_temporal_stride_for_eval=memory.temporal_stride,
        forward_backbone_per_frame_for_eval=True,
        use_memory_selection=memory_selection,
        mf_threshold=memory.score_threshold,
        compile_all_components=compile_all_components,
        sam_mask_in_chans=decoder.mask_in_chans,
        sam_transformer_args={
            "depth": decoder.depth,
            "num_heads": decoder.num_heads,
            "mlp_dim": decoder.mlp_dim,
        },
        sam_mask_decoder_extra_args={
            "num_multimask_outputs": decoder.num_multimask_outputs,
            "iou_head_depth": decoder.iou_head_depth,
            "iou_head_hidden_dim": decoder.iou_head_hidden_dim,
            "iou_prediction_use_sigmoid": decoder.iou_prediction_use_sigmoid,
            "dynamic_multimask_via_stability": True,
            "dynamic_multimask_stability_delta": decoder.stability_delta,
            "dynamic_multimask_stability_thresh": decoder.stability_thresh,
        },
        **tracking_rules(config),
    )


def tracking_rules(config: Sam3TrackerConfig) -> dict[str, Any]:
    """Constructor keywords of the rules that have no weights."""
    rules = config.tracking
    return {
        "multimask_output_in_sam": rules.multimask_output_in_sam,
        "multimask_output_for_tracking": rules.multimask_output_for_tracking,
        "multimask_min_pt_num": rules.multimask_min_pt_num,
        "multimask_max_pt_num": rules.multimask_max_pt_num,
        "max_point_num_in_prompt_enc": rules.max_point_num_in_prompt_enc,
        "non_overlap_masks_for_mem_enc": rules.non_overlap_masks_for_mem_enc,
        "non_overlap_masks_for_output": rules.non_overlap_masks_for_output,
        "clear_non_cond_mem_around_input": rules.clear_non_cond_mem_around_input,
        "clear_non_cond_mem_for_multi_obj": rules.clear_non_cond_mem_for_multi_obj,
        "always_start_from_first_ann_frame": rules.always_start_from_first_ann_frame,
        "fill_hole_area": rules.fill_hole_area,
    }


def mask_memory_encoder(config: Sam3TrackerConfig) -> SimpleMaskEncoder:
    """Masks and image features to memories."""
    side = config.memory_mask_size
    return SimpleMaskEncoder(
        out_dim=config.memory.dim,
        in_dim=config.d_model,
        mask_downsampler=SimpleMaskDownSampler(
            embed_dim=config.d_model,
            kernel_size=3,
            stride=2,
            padding=1,
            total_stride=side // config.grid,
            interpol_size=[side, side],
        ),
        fuser=SimpleFuser(
            CXBlock(config.d_model, kernel_size=7, padding=3), config.memory.fuser_layers
        ),
        position_encoding=PositionEmbeddingSine(num_pos_feats=config.memory.dim),
    )


def memory_attention(config: Sam3TrackerConfig) -> TransformerWrapper:
    """Image tokens attend to themselves and to memories, with rotary positions."""
    memory, grid = config.memory, (config.grid, config.grid)
    rotary = {"rope_theta": memory.rope_theta, "feat_sizes": grid, "dropout": memory.dropout}
    layer = TransformerDecoderLayerv2(
        activation="relu",
        d_model=config.d_model,
        dim_feedforward=memory.dim_feedforward,
        dropout=memory.dropout,
        pre_norm=True,
        pos_enc_at_attn=False,
        pos_enc_at_cross_attn_keys=True,
        pos_enc_at_cross_attn_queries=False,
        self_attention=RoPEAttention(config.d_model, 1, **rotary),
        cross_attention=RoPEAttention(
            config.d_model, 1, kv_in_dim=memory.dim, rope_k_repeat=True, **rotary
        ),
    )
    encoder = TransformerEncoderCrossAttention(
        d_model=config.d_model,
        frozen=False,
        pos_enc_at_input=True,
        layer=layer,
        num_layers=memory.layers,
        batch_first=True,
    )
    return TransformerWrapper(encoder, None, config.d_model)

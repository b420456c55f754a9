"""The toy model of ``tests/golden/image/tiny_model.npz``: the released classes at width 32."""

from __future__ import annotations

from torch import nn

from sam3.layers.mlp import MLP
from sam3.model.decoder import TransformerDecoder, TransformerDecoderLayer
from sam3.model.encoder import TransformerEncoderFusion, TransformerEncoderLayer
from sam3.model.geometry_encoders import SequenceGeometryEncoder
from sam3.model.maskformer_segmentation import PixelDecoder, UniversalSegmentationHead
from sam3.model.model_misc import DotProductScoring, MultiheadAttentionWrapper, TransformerWrapper
from sam3.model.necks import Sam3DualViTDetNeck
from sam3.model.position_encoding import PositionEmbeddingSine
from sam3.model.sam3_image import Sam3Image
from sam3.model.text_encoder_ve import VETextEncoder
from sam3.model.tokenizer_ve import SimpleTokenizer
from sam3.model.vitdet import ViT
from sam3.model.vl_combiner import SAM3VLBackbone

from .fill import fill_state

D, FFN, HEADS = 32, 48, 8


def _mha(batch_first: bool = False, dropout: float = 0.1) -> MultiheadAttentionWrapper:
    return MultiheadAttentionWrapper(
        num_heads=HEADS, dropout=dropout, embed_dim=D, batch_first=batch_first
    )


def _layer(batch_first: bool, at_attn: bool, at_keys: bool) -> TransformerEncoderLayer:
    return TransformerEncoderLayer(
        activation="relu",
        d_model=D,
        dim_feedforward=FFN,
        dropout=0.1,
        pre_norm=True,
        self_attention=_mha(batch_first),
        cross_attention=_mha(batch_first),
        pos_enc_at_attn=at_attn,
        pos_enc_at_cross_attn_keys=at_keys,
        pos_enc_at_cross_attn_queries=False,
    )


def build_toy() -> Sam3Image:
    """Constructed with the released keywords, filled with seed 0, in evaluation mode."""
    trunk = ViT(
        img_size=112, pretrain_img_size=56, patch_size=14, in_chans=3, embed_dim=64, depth=4,
        num_heads=4, mlp_ratio=2.5, norm_layer="LayerNorm", drop_path_rate=0.1, qkv_bias=True,
        use_abs_pos=True, tile_abs_pos=True, global_att_blocks=(1, 3), rel_pos_blocks=(),
        use_rope=True, rope_pt_size=None, use_interp_rope=True, window_size=4,
        pretrain_use_cls_token=True, retain_cls_token=False, dropout=0.0, init_values=None,
        ln_pre=True, ln_post=False, return_interm_layers=False, bias_patch_embed=False,
        compile_mode=None, use_act_checkpoint=True,
    )  # fmt: skip
    neck = Sam3DualViTDetNeck(
        trunk=trunk,
        position_encoding=PositionEmbeddingSine(
            num_pos_feats=D,
            normalize=True,
            scale=None,
            temperature=10000,
            precompute_resolution=112,
        ),
        d_model=D,
        scale_factors=[4.0, 2.0, 1.0, 0.5],
        add_sam2_neck=True,
    )
    text = VETextEncoder(
        d_model=D, tokenizer=SimpleTokenizer(), width=64, heads=4, layers=2, context_length=32,
        vocab_size=49408, use_ln_post=True, compile_mode=None, use_act_checkpoint=True,
    )  # fmt: skip
    decoder = TransformerDecoder(
        layer=TransformerDecoderLayer(
            activation="relu", d_model=D, dim_feedforward=FFN, dropout=0.1,
            cross_attention=_mha(), n_heads=HEADS, use_text_cross_attention=True,
        ),
        num_layers=3, num_queries=12, return_intermediate=True, box_refine=True,
        num_o2m_queries=0, dac=True, boxRPB="log", d_model=D, frozen=False,
        interaction_layer=None, dac_use_selfatt_ln=True, use_act_checkpoint=True,
        presence_token=True, clamp_presence_logits=True, resolution=112, stride=14,
    )  # fmt: skip
    model = Sam3Image(
        backbone=SAM3VLBackbone(visual=neck, text=text, scalp=1),
        transformer=TransformerWrapper(
            TransformerEncoderFusion(
                layer=_layer(True, True, False), num_layers=2, d_model=D, num_feature_levels=1,
                frozen=False, use_act_checkpoint=True, add_pooled_text_to_img_feat=False,
                pool_text_with_mask=True,
            ),
            decoder,
            d_model=D,
        ),
        input_geometry_encoder=SequenceGeometryEncoder(
            encode_boxes_as_points=False, points_direct_project=True, points_pool=True,
            points_pos_enc=True, boxes_direct_project=True, boxes_pool=True, boxes_pos_enc=True,
            d_model=D, pos_enc=PositionEmbeddingSine(num_pos_feats=D), num_layers=2,
            layer=_layer(False, False, True), roi_size=7, add_cls=True, add_post_encode_proj=True,
            mask_encoder=None, add_mask_label=False, use_act_ckpt=True,
        ),
        segmentation_head=UniversalSegmentationHead(
            hidden_dim=D,
            upsampling_stages=3,
            pixel_decoder=PixelDecoder(hidden_dim=D, num_upsampling_stages=3),
            cross_attend_prompt=_mha(dropout=0.0),
        ),
        dot_prod_scoring=DotProductScoring(
            d_model=D,
            d_proj=D,
            prompt_mlp=MLP(D, FFN, D, 2, dropout=0.1, residual=True, out_norm=nn.LayerNorm(D)),
        ),
        use_instance_query=False,
    )  # fmt: skip
    fill_state(model.state_dict(), seed=0, prefix="tinymodel.")
    return model.eval()

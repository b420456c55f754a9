"""Builders: configuration to modules, checkpoint to weights; the only place that maps them.

Entry points :func:`build_sam3_image_model`, :func:`build_tracker`, and (in ``builders/video.py``)
``build_sam3_video_model`` and ``build_sam3_video_predictor``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from .builders.interactive import assemble_interactive_predictor, tracker_config_of
from .builders.tracker import assemble_tracker
from .checkpoint import (
    RawCheckpoint,
    load_image_weights,
    load_tracker_weights,
    read_checkpoint,
)
from .config import Sam3ImageConfig, Sam3TrackerConfig, presets
from .errors import CheckpointFormatError, DeviceError
from .layers.mlp import MLP
from .model.act_ckpt_utils import set_activation_checkpointing
from .model.decoder import TransformerDecoder, TransformerDecoderLayer
from .model.encoder import TransformerEncoderFusion, TransformerEncoderLayer
from .model.geometry_encoders import SequenceGeometryEncoder
from .model.maskformer_segmentation import PixelDecoder, UniversalSegmentationHead
from .model.model_misc import DotProductScoring, MultiheadAttentionWrapper, TransformerWrapper
from .model.necks import Sam3DualViTDetNeck
from .model.position_encoding import PositionEmbeddingSine
from .model.sam3_image import Sam3Image
from .model.sam3_tracking_predictor import Sam3TrackerPredictor
from .model.text_encoder_ve import VETextEncoder
from .model.tokenizer_ve import SimpleTokenizer
from .model.vitdet import ViT
from .model.vl_combiner import SAM3VLBackbone
from .precision import PrecisionPolicy, resolve_precision


def build_sam3_image_model(
    bpe_path: str | Path | None = None,
    device: torch.device | str | None = None,
    eval_mode: bool = True,
    checkpoint_path: str | Path | None = None,
    load_from_HF: bool = True,
    enable_segmentation: bool = True,
    enable_inst_interactivity: bool = False,
    compile: bool = False,
    *,
    config: Sam3ImageConfig | None = None,
    precision: str | PrecisionPolicy = "fp32",
    matcher: Any = None,
    use_act_checkpoint: bool = False,
) -> Sam3Image:
    """Build the image model and load its weights.

    bpe_path: CLIP vocabulary, by default the bundled one. device: where the model goes; None picks
    CUDA, then MPS, then CPU. checkpoint_path: any supported file (``sam3.checkpoint``); without one
    ``load_from_HF`` fetches ``facebook/sam3``, and ``load_from_HF=False`` leaves random weights.
    enable_inst_interactivity: also build the tracker's heads, for ``predict_inst``; the file must
    have them.
    config: by default the one in the file, else the released model. precision: "fp32", "bf16",
    "fp16", "auto" or a policy. Training (``eval_mode=False``) uses the matcher and with
    use_act_checkpoint computes activations again instead of keeping them.

    Raises CheckpointError for an unusable file, DownloadError without network or permission,
    DeviceError for a missing device.
    """
    device = pick_device(device)
    policy = resolve_precision(precision, device)
    if checkpoint_path is None and load_from_HF:
        from .checkpoint.resolve import resolve_model

        checkpoint_path = resolve_model("sam3")
    raw = None if checkpoint_path is None else read_checkpoint(checkpoint_path)
    config = config or config_of(raw)
    with torch.device("cpu" if raw is None else "meta"):
        model = assemble_image_model(
            config,
            bpe_path=bpe_path,
            enable_segmentation=enable_segmentation,
            enable_inst_interactivity=enable_inst_interactivity,
            tracker_config=tracker_config_of(raw, config) if enable_inst_interactivity else None,
            matcher=matcher,
        )
    if raw is not None:
        report = load_image_weights(model, raw, dtype_for=policy.dtype_for, device=device)
        model.supports_points = report.supports_points
        materialize_buffers(model, device)
    policy.apply_(model)
    model.to(device)
    set_activation_checkpointing(model, use_act_checkpoint)
    if compile:
        compile_image_model(model)
    return model.train(not eval_mode)


def build_tracker(
    apply_temporal_disambiguation: bool,
    with_backbone: bool = False,
    compile_mode: str | None = None,
    *,
    config: Sam3TrackerConfig | None = None,
    image_config: Sam3ImageConfig | None = None,
    device: torch.device | str | None = None,
    checkpoint_path: str | Path | None = None,
) -> Sam3TrackerPredictor:
    """Build the tracker, in evaluation mode.

    apply_temporal_disambiguation: choose memories by their worth. with_backbone: also the image
    model that makes its features (sizes ``image_config``, by default the preset of the tracker's
    name); without it features are passed in. compile_mode: mode of ``torch.compile`` for the
    vision trunk. config: by default the one in the file, else the released tracker. device: as for
    the image model. checkpoint_path: any supported SAM 3.0 file; without one the weights are
    random. Nothing is fetched, and no precision is switched on.

    Raises as :func:`build_sam3_image_model`.
    """
    device = pick_device(device)
    raw = None if checkpoint_path is None else read_checkpoint(checkpoint_path)
    if config is None:
        stored = None if raw is None else raw.config
        image_config = image_config or (None if stored is None else config_of(raw))
        config = tracker_config_of(raw, image_config or presets.SAM3_IMAGE)
    with torch.device("cpu" if raw is None else "meta"):
        backbone = None
        if with_backbone:
            image = image_config or presets.get(config.name)
            visual = _vision_backbone(image, add_sam2_neck=True)
            backbone = SAM3VLBackbone(visual=visual, text=None, scalp=image.neck.scalp)
        model = assemble_tracker(
            config, memory_selection=apply_temporal_disambiguation, backbone=backbone
        )
    if raw is not None:
        load_tracker_weights(model, raw, device=device)
        materialize_buffers(model, device)
    model.to(device)
    if backbone is not None and compile_mode is not None:
        from .perflib.compile import compile_wrapper

        trunk = backbone.vision_backbone.trunk
        trunk.forward = compile_wrapper(trunk.forward, mode=compile_mode, fullgraph=True)
    return model.eval()


def pick_device(device: torch.device | str | None = None) -> torch.device:
    """``device`` checked for existence, or the best there is: CUDA, MPS, CPU.

    "cpus" is the CPU: published configurations of experiments spell it so.
    """
    if device is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device("cpu" if device == "cpus" else device)
    missing = (device.type == "cuda" and not torch.cuda.is_available()) or (
        device.type == "mps" and not torch.backends.mps.is_available()
    )
    if missing:
        raise DeviceError(
            f"device {str(device)!r} is not available here; use 'cpu' or leave it out"
        )
    return device


def materialize_buffers(model: nn.Module, device: torch.device | str = "cpu") -> None:
    """Compute the buffers that a checkpoint did not fill on a model built on the meta device."""
    for module in model.modules():
        if hasattr(module, "reset_computed_buffers") and any(b.is_meta for b in module.buffers()):
            module.reset_computed_buffers(device)


def compile_image_model(model: Sam3Image) -> None:
    """Compile the vision trunk and the pixel decoder in place."""
    from .perflib.compile import compile_wrapper

    trunk = model.backbone.vision_backbone.trunk
    trunk.forward = compile_wrapper(trunk.forward, mode="default", fullgraph=True)
    if model.segmentation_head is not None:
        pixel_decoder = model.segmentation_head.pixel_decoder
        pixel_decoder.forward = compile_wrapper(
            pixel_decoder.forward, mode="default", fullgraph=True, dynamic=True
        )


def config_of(raw: RawCheckpoint | None) -> Sam3ImageConfig:
    """The image configuration in a file's metadata, or the preset that its names tell."""
    if raw is None:
        return presets.SAM3_IMAGE
    if raw.config is not None:
        try:
            return Sam3ImageConfig.from_dict(raw.config)
        except (TypeError, ValueError) as error:
            raise CheckpointFormatError(
                f"{raw.path}: the configuration in its metadata is not usable ({error});"
                " update this package or get the file again"
            ) from error
    three_levels = presets.SAM31_IMAGE.neck.scale_factors
    levels = raw.layout_details.neck_levels
    return presets.SAM31_IMAGE if levels == len(three_levels) else presets.SAM3_IMAGE


# ---- assembly ---------------------------------------------------------------------------------


def assemble_image_model(
    config: Sam3ImageConfig,
    *,
    bpe_path: str | Path | None = None,
    enable_segmentation: bool = True,
    enable_inst_interactivity: bool = False,
    add_sam2_neck: bool = False,
    tracker_config: Sam3TrackerConfig | None = None,
    model_class: type[Sam3Image] = Sam3Image,
    matcher: Any = None,
    **keywords: Any,
) -> Sam3Image:
    """The module tree of ``config`` on the default device, with initial weights.

    add_sam2_neck: build the tracker's pyramid, too. tracker_config: of the instance predictor, by
    default the one that goes with ``config``. model_class, keywords: what to build of the
    parts, and its further keywords.
    """
    c = config
    with_neck = enable_inst_interactivity or add_sam2_neck
    return model_class(
        backbone=SAM3VLBackbone(
            visual=_vision_backbone(c, add_sam2_neck=with_neck),
            text=_text_encoder(c, bpe_path),
            scalp=c.neck.scalp,
        ),
        transformer=TransformerWrapper(_fusion_encoder(c), _decoder(c), c.d_model),
        input_geometry_encoder=_geometry_encoder(c),
        segmentation_head=_segmentation_head(c) if enable_segmentation else None,
        dot_prod_scoring=DotProductScoring(
            c.d_model,
            c.d_model,
            MLP(
                c.d_model,
                c.dim_feedforward,
                c.d_model,
                2,
                dropout=c.dropout,
                residual=True,
                out_norm=nn.LayerNorm(c.d_model),
            ),
        ),
        inst_interactive_predictor=(
            assemble_interactive_predictor(c, tracker_config) if enable_inst_interactivity else None
        ),
        matcher=matcher,
        config=config,
        **keywords,
    )


def _vision_backbone(c: Sam3ImageConfig, add_sam2_neck: bool = False) -> Sam3DualViTDetNeck:
    v = c.vision
    trunk = ViT(
        img_size=v.img_size,
        patch_size=v.patch_size,
        embed_dim=v.embed_dim,
        depth=v.depth,
        num_heads=v.num_heads,
        mlp_ratio=v.mlp_ratio,
        drop_path_rate=v.drop_path_rate,
        pretrain_img_size=v.pretrain_img_size,
        window_size=v.window_size,
        global_att_blocks=v.global_blocks,
    )
    return Sam3DualViTDetNeck(
        trunk,
        _sine(c, v.img_size),
        d_model=c.d_model,
        scale_factors=c.neck.scale_factors,
        add_sam2_neck=add_sam2_neck,
    )


def _sine(c: Sam3ImageConfig, resolution: int | None = None) -> PositionEmbeddingSine:
    return PositionEmbeddingSine(num_pos_feats=c.d_model, precompute_resolution=resolution)


def _text_encoder(c: Sam3ImageConfig, bpe_path: str | Path | None) -> VETextEncoder:
    t = c.text
    return VETextEncoder(
        d_model=c.d_model,
        tokenizer=SimpleTokenizer(bpe_path, num_merges=t.num_merges),
        width=t.width,
        heads=t.heads,
        layers=t.layers,
        context_length=t.context_length,
        vocab_size=t.vocab_size,
    )


def _attention(c: Sam3ImageConfig, batch_first: bool = False) -> MultiheadAttentionWrapper:
    return MultiheadAttentionWrapper(c.d_model, c.num_heads, c.dropout, batch_first=batch_first)


def _encoder_layer(
    c: Sam3ImageConfig, *, batch_first: bool, self_pos: bool, key_pos: bool
) -> TransformerEncoderLayer:
    return TransformerEncoderLayer(
        activation="relu",
        d_model=c.d_model,
        dim_feedforward=c.dim_feedforward,
        dropout=c.dropout,
        self_attention=_attention(c, batch_first),
        cross_attention=_attention(c, batch_first),
        pos_enc_at_attn=self_pos,
        pos_enc_at_cross_attn_keys=key_pos,
    )


def _geometry_encoder(c: Sam3ImageConfig) -> SequenceGeometryEncoder:
    return SequenceGeometryEncoder(
        d_model=c.d_model,
        pos_enc=_sine(c),
        num_layers=c.geometry.layers,
        layer=_encoder_layer(c, batch_first=False, self_pos=False, key_pos=True),
        roi_size=c.geometry.roi_size,
    )


def _fusion_encoder(c: Sam3ImageConfig) -> TransformerEncoderFusion:
    return TransformerEncoderFusion(
        layer=_encoder_layer(c, batch_first=True, self_pos=True, key_pos=False),
        num_layers=c.encoder_layers,
        d_model=c.d_model,
        add_pooled_text_to_img_feat=False,
    )


def _decoder(c: Sam3ImageConfig) -> TransformerDecoder:
    return TransformerDecoder(
        layer=TransformerDecoderLayer(
            activation="relu",
            d_model=c.d_model,
            dim_feedforward=c.dim_feedforward,
            dropout=c.dropout,
            cross_attention=_attention(c),
            n_heads=c.num_heads,
        ),
        num_layers=c.decoder.layers,
        num_queries=c.decoder.num_queries,
        d_model=c.d_model,
        dac=c.decoder.dac,
        resolution=c.vision.img_size,
        stride=c.vision.patch_size,
    )


def _segmentation_head(c: Sam3ImageConfig) -> UniversalSegmentationHead:
    stages = c.segmentation.upsampling_stages
    return UniversalSegmentationHead(
        hidden_dim=c.d_model,
        upsampling_stages=stages,
        pixel_decoder=PixelDecoder(c.d_model, stages, num_groups=c.segmentation.group_norm_groups),
        cross_attend_prompt=MultiheadAttentionWrapper(c.d_model, c.num_heads),
    )


# The video model's builders stand on this module, so they are found when they are asked for.
_VIDEO = ("assemble_video_model", "build_sam3_video_model", "build_sam3_video_predictor")


def __getattr__(name: str) -> Any:
    if name not in _VIDEO:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .builders import video

    return getattr(video, name)

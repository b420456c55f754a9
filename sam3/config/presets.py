"""Named variants, written as differences from the released model."""

from __future__ import annotations

from dataclasses import replace

from .image import (
    DecoderConfig,
    GeometryConfig,
    NeckConfig,
    Sam3ImageConfig,
    TextConfig,
    VisionConfig,
)
from .tracker import MaskDecoderConfig, MemoryConfig, Sam3TrackerConfig
from .video import Sam3VideoConfig

SAM3_IMAGE = Sam3ImageConfig()
"""The image model of facebook/sam3 (840 M parameters)."""

SAM31_IMAGE = replace(SAM3_IMAGE, name="sam3.1", neck=NeckConfig(scale_factors=(4, 2, 1), scalp=0))
"""The image part of SAM 3.1: the same model; its files lack the unused fourth neck level."""

SAM3_TINY = Sam3ImageConfig(
    name="sam3-tiny",
    d_model=64,
    num_heads=4,
    dim_feedforward=256,
    dropout=0.0,
    encoder_layers=2,
    vision=VisionConfig(
        img_size=192,
        patch_size=12,
        pretrain_img_size=192,
        embed_dim=128,
        depth=4,
        num_heads=4,
        mlp_ratio=4.0,
        window_size=6,
        global_blocks=(0, 1, 2, 3),
        drop_path_rate=0.0,
    ),
    text=TextConfig(width=96, heads=4, layers=2, context_length=32, num_merges=1534),
    neck=NeckConfig(scale_factors=(4, 2, 1), scalp=0),
    geometry=GeometryConfig(layers=1),
    decoder=DecoderConfig(layers=3, num_queries=16),
)
"""The bundled checkpoint: shapes and colours, runs anywhere in milliseconds."""

SAM3_TRACKER = Sam3TrackerConfig()
"""The tracker of facebook/sam3 (11.7 M parameters); reads the features of ``SAM3_IMAGE``."""

SAM3_TINY_TRACKER = Sam3TrackerConfig(
    name="sam3-tiny",
    image_size=192,
    patch_size=12,
    d_model=64,
    memory=MemoryConfig(
        dim=32,
        num_maskmem=4,
        max_obj_ptrs=8,
        layers=2,
        dim_feedforward=256,
        dropout=0.0,
        fuser_layers=1,
    ),
    decoder=MaskDecoderConfig(num_heads=4, mlp_dim=256, iou_head_hidden_dim=64),
)
"""The tracker of the bundled checkpoint; reads the features of ``SAM3_TINY``."""

SAM3_VIDEO = Sam3VideoConfig(image=SAM3_IMAGE, tracker=SAM3_TRACKER)
"""The video model of facebook/sam3, with temporal disambiguation."""

SAM3_VIDEO_PLAIN = SAM3_VIDEO.without_disambiguation()
"""The same without it: every frame is decided for itself."""

SAM3_TINY_VIDEO = Sam3VideoConfig(image=SAM3_TINY, tracker=SAM3_TINY_TRACKER)
"""The video model of the bundled checkpoint."""

_PRESETS = {p.name: p for p in (SAM3_IMAGE, SAM31_IMAGE, SAM3_TINY)}
_TRACKERS = {p.name: p for p in (SAM3_TRACKER, SAM3_TINY_TRACKER)}


def names() -> list[str]:
    """Names that :func:`get` knows."""
    return list(_PRESETS)


def get(name: str) -> Sam3ImageConfig:
    """The preset called ``name``; KeyError lists the known ones."""
    if name not in _PRESETS:
        raise KeyError(f"unknown preset {name!r}; known are {names()}")
    return _PRESETS[name]


def get_tracker(name: str) -> Sam3TrackerConfig:
    """The tracker preset that goes with the image preset ``name``; KeyError lists the known."""
    if name not in _TRACKERS:
        raise KeyError(f"no tracker preset {name!r}; known are {list(_TRACKERS)}")
    return _TRACKERS[name]

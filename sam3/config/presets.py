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
        img_size=144,
        patch_size=12,
        pretrain_img_size=144,
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

_PRESETS = {p.name: p for p in (SAM3_IMAGE, SAM31_IMAGE, SAM3_TINY)}


def names() -> list[str]:
    """Names that :func:`get` knows."""
    return list(_PRESETS)


def get(name: str) -> Sam3ImageConfig:
    """The preset called ``name``; KeyError lists the known ones."""
    if name not in _PRESETS:
        raise KeyError(f"unknown preset {name!r}; known are {names()}")
    return _PRESETS[name]

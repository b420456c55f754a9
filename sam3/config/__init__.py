"""Typed model configurations and the published presets."""

from . import presets
from .image import (
    DecoderConfig,
    GeometryConfig,
    NeckConfig,
    Sam3ImageConfig,
    SegmentationConfig,
    TextConfig,
    VisionConfig,
)

__all__ = [
    "DecoderConfig",
    "GeometryConfig",
    "NeckConfig",
    "Sam3ImageConfig",
    "SegmentationConfig",
    "TextConfig",
    "VisionConfig",
    "presets",
]

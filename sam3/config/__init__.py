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
from .tracker import MaskDecoderConfig, MemoryConfig, Sam3TrackerConfig, TrackingConfig
from .video import Sam3VideoConfig, VideoRules

__all__ = [
    "DecoderConfig",
    "GeometryConfig",
    "MaskDecoderConfig",
    "MemoryConfig",
    "NeckConfig",
    "Sam3ImageConfig",
    "Sam3TrackerConfig",
    "Sam3VideoConfig",
    "SegmentationConfig",
    "TextConfig",
    "TrackingConfig",
    "VideoRules",
    "VisionConfig",
    "presets",
]

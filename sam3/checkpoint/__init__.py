"""Weight files: reading any published layout, strict loading, saving, describing, fetching."""

from __future__ import annotations

from .formats import read_checkpoint
from .huggingface import from_huggingface, to_huggingface
from .info import CheckpointInfo, describe
from .load import LoadReport, load_image_weights
from .raw import RawCheckpoint
from .save import save_checkpoint
from .tracker import load_tracker_weights

__all__ = [
    "CheckpointInfo",
    "LoadReport",
    "RawCheckpoint",
    "describe",
    "from_huggingface",
    "load_image_weights",
    "load_tracker_weights",
    "read_checkpoint",
    "save_checkpoint",
    "to_huggingface",
]

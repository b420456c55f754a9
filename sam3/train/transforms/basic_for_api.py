"""Front door of the transforms of pictures; see resize.py, pad.py, tensors.py and compose.py."""

from __future__ import annotations

from .compose import ComposeAPI
from .pad import PadToSizeAPI, pad
from .resize import RandomResizeAPI, resize
from .tensors import NormalizeAPI, ToTensorAPI

__all__ = [
    "ComposeAPI",
    "NormalizeAPI",
    "PadToSizeAPI",
    "RandomResizeAPI",
    "ToTensorAPI",
    "pad",
    "resize",
]

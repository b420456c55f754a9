"""SAM 3 in plain PyTorch. Public names load lazily; importing the package imports nothing heavy."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_EXPORTS = {
    "build_sam3_image_model": ".model_builder",
    "build_sam3_video_model": ".model_builder",
    "build_sam3_video_predictor": ".model_builder",
    "Sam3Processor": ".model.sam3_image_processor",
    "Sam3Error": ".errors",
}
__all__ = ["__version__", *_EXPORTS]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name], __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)

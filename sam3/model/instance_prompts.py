"""Clicks and boxes on a picture that the processor has encoded, with the interactive predictor."""

from __future__ import annotations

from typing import Any, Protocol

from ..errors import SessionError


class Predictor(Protocol):
    """What is used of ``SAM3InteractiveImagePredictor``."""

    def encoded_images(self, backbone_out: Any, orig_hw: Any, is_batch: bool = False) -> Any: ...

    def predict_on(self, images: Any, *args: Any, **kwargs: Any) -> Any: ...

    def predict_batch_on(self, images: Any, *args: Any, **kwargs: Any) -> Any: ...


def predict_one(
    predictor: Predictor | None, state: dict[str, Any], *args: Any, **kwargs: Any
) -> Any:
    """``predict`` on the picture of a ``set_image`` state, which is not changed."""
    predictor, features = _checked(predictor, state)
    if "original_height" not in state:
        raise SessionError("this state holds a batch of pictures: use predict_inst_batch")
    size = (state["original_height"], state["original_width"])
    return predictor.predict_on(predictor.encoded_images(features, [size]), *args, **kwargs)


def predict_many(
    predictor: Predictor | None, state: dict[str, Any], *args: Any, **kwargs: Any
) -> Any:
    """``predict_batch`` on the pictures of a ``set_image_batch`` state, which is not changed."""
    predictor, features = _checked(predictor, state)
    if "original_heights" not in state:
        raise SessionError("this state holds one picture: use predict_inst")
    sizes = list(zip(state["original_heights"], state["original_widths"], strict=True))
    images = predictor.encoded_images(features, sizes, is_batch=True)
    return predictor.predict_batch_on(images, *args, **kwargs)


def _checked(
    predictor: Predictor | None, state: dict[str, Any]
) -> tuple[Predictor, dict[str, Any]]:
    if predictor is None:
        raise SessionError(
            "this model has no interactive predictor: build it with enable_inst_interactivity=True"
        )
    if "backbone_out" not in state:
        raise SessionError("no picture yet: call set_image (or set_image_batch) of Sam3Processor")
    features = state["backbone_out"].get("sam2_backbone_out")
    if features is None:
        raise SessionError(
            "the picture was encoded by a model without an interactive predictor; call set_image"
            " again with a processor of this model"
        )
    return predictor, features

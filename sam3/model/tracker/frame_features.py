"""Image features of one frame of a session, from its cache or from the tracker's backbone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ...errors import SessionError
from .state import InferenceState

if TYPE_CHECKING:
    from ..sam3_tracker_base import Sam3TrackerBase

CACHED_OUTPUT = "tracker_backbone_out"
"""Key under which a cached dict may hold the backbone's output; else it is the output itself."""


class FrameFeatures(NamedTuple):
    """Features with a batch of one, for all objects; sequence first: see ``track_step``."""

    image: Tensor
    feats: list[Tensor]
    pos: list[Tensor]
    sizes: list[tuple[int, int]]


def frame_features(model: Sam3TrackerBase, state: InferenceState, frame_idx: int) -> FrameFeatures:
    """Features of a frame.

    A frame that is not cached is encoded and takes the place of the whole cache, so the cache
    never grows by itself.

    Raises:
        SessionError: not cached, and there is no backbone or no video to encode.
    """
    cached = state.cached_features.get(frame_idx)
    if cached is None:
        cached = _encode(model, state, frame_idx)
        state.cached_features = {frame_idx: cached}
    image, output = cached
    output = output.get(CACHED_OUTPUT, output)
    if image.ndim == 3:
        image = image[None]
    _, feats, pos, sizes = model._prepare_backbone_features(output)
    return FrameFeatures(image, feats, pos, sizes)


def _encode(model: Sam3TrackerBase, state: InferenceState, frame_idx: int) -> tuple[Tensor, Any]:
    if getattr(model, "backbone", None) is None:
        raise SessionError(
            f"there are no features of frame {frame_idx}, and this tracker has no backbone to make "
            "them; put them into cached_features, or set tracker.backbone (of a video model: "
            "tracker.backbone = detector.backbone)"
        )
    if state.images is None:
        raise SessionError(
            f"there are no features of frame {frame_idx} and no video to make them from; pass "
            "video_path or cached_features to init_state"
        )
    image = torch.as_tensor(state.images[frame_idx]).to(state.device).float()[None]
    return image, model.forward_image(image)

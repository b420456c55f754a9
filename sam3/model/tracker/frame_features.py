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
    """Features for B objects, sequence first, coarse level last: see ``track_step``."""

    image: Tensor
    feats: list[Tensor]
    pos: list[Tensor]
    sizes: list[tuple[int, int]]


def frame_features(
    model: Sam3TrackerBase, state: InferenceState, frame_idx: int, batch_size: int
) -> FrameFeatures:
    """Features of a frame, expanded (without copying) to ``batch_size`` objects.

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
    expanded = {
        **output,
        "backbone_fpn": [_expand(x, batch_size) for x in output["backbone_fpn"]],
        "vision_pos_enc": [_expand(x, batch_size) for x in output["vision_pos_enc"]],
    }
    _, feats, pos, sizes = model._prepare_backbone_features(expanded)
    return FrameFeatures(_expand(image, batch_size), feats, pos, sizes)


def _expand(value: Tensor, batch_size: int) -> Tensor:
    return value.expand(batch_size, *(-1,) * (value.ndim - 1))


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

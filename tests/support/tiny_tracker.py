"""A small tracker with formula-made weights, and features for it: a frame takes milliseconds."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import torch
from torch import Tensor

from sam3.builders.tracker import assemble_tracker
from sam3.config.presets import SAM3_TINY_TRACKER
from sam3.model.sam3_tracking_predictor import Sam3TrackerPredictor
from sam3.model.tracker.state import InferenceState

from .golden_video import fill, smooth_map

HEIGHT, WIDTH = 36, 48
Result = tuple[int, list[int], Tensor, Tensor, Tensor]
SCORE_BIAS = "sam_mask_decoder.pred_obj_score_head.layers.2.bias"


class Features(dict[int, Any]):
    """Features of endlessly many frames: the few that exist come round again."""

    def __init__(self, seed: int, period: int = 7) -> None:
        config = SAM3_TINY_TRACKER
        width, side = config.d_model, config.grid
        shapes = ((width // 8, 4 * side), (width // 4, 2 * side), (width, side))
        super().__init__()
        for t in range(period):
            levels = [
                smooth_map(100 * seed + k, channels, size, size, t)[None]
                for k, (channels, size) in enumerate(shapes)
            ]
            positions = [torch.zeros_like(level) for level in levels]
            output = {
                "vision_features": levels[-1],
                "vision_pos_enc": positions,
                "backbone_fpn": levels,
            }
            self[t] = (torch.zeros(1, 3, 2, 2), {"tracker_backbone_out": output})
        self.period = period

    def get(self, key: int, default: Any = None) -> Any:
        return self[key % self.period]


def tiny_tracker(selection: bool = False, **options: Any) -> Sam3TrackerPredictor:
    """The tiny preset with released options, changed by ``options``."""
    model = assemble_tracker(SAM3_TINY_TRACKER, memory_selection=selection)
    model.options = dataclasses.replace(model.options, **options)
    return fill(model, {SCORE_BIAS: 3.0}).eval()


def tiny_session(model: Sam3TrackerPredictor, seed: int = 1, frames: int = 12) -> InferenceState:
    """A session on ``frames`` frames of made-up features."""
    return model.init_state(
        video_height=HEIGHT, video_width=WIDTH, num_frames=frames, cached_features=Features(seed)
    )


def tensors_of(value: Any, seen: set[int] | None = None) -> list[Tensor]:
    """Every tensor that records, dicts and lists hold, once each."""
    seen = set() if seen is None else seen
    if id(value) in seen or isinstance(value, Features):
        return []
    seen.add(id(value))
    if isinstance(value, Tensor):
        return [value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts: Any = [getattr(value, f.name) for f in dataclasses.fields(value)]
    elif isinstance(value, dict):
        parts = value.values()
    elif isinstance(value, (list, tuple, set)):
        parts = value
    else:
        return []
    return [tensor for part in parts for tensor in tensors_of(part, seen)]


def click(
    model: Sam3TrackerPredictor,
    state: InferenceState,
    frame: int = 0,
    obj: int = 1,
    at: tuple[float, float] = (0.4, 0.6),
    **more: Any,
) -> Tensor:
    """One positive click; the masks of all objects."""
    return model.add_new_points_or_box(state, frame, obj, points=[at], labels=[1], **more)[3]


def track(
    model: Sam3TrackerPredictor,
    state: InferenceState,
    start: int | None = None,
    count: int | None = None,
    reverse: bool = False,
) -> list[Result]:
    """All frames of a propagation."""
    return list(model.propagate_in_video(state, start, count, reverse, tqdm_disable=True))


def started(model: Sam3TrackerPredictor, objects: int = 2, **options: Any) -> InferenceState:
    """A session with a click on frame 0 for each object, after the preflight."""
    state = tiny_session(model, **options)
    for i in range(objects):
        click(model, state, obj=10 + i, at=(0.2 + 0.6 * i / max(objects - 1, 1), 0.4))
    model.propagate_in_video_preflight(state)
    return state


def assert_same(first: list[Result], second: list[Result], tolerance: float = 0.0) -> None:
    """Two propagations gave the same."""
    assert [r[:2] for r in first] == [r[:2] for r in second]
    for a, b in zip(first, second, strict=True):
        for x, y in zip(a[2:], b[2:], strict=True):
            torch.testing.assert_close(x, y, rtol=0, atol=tolerance)


def snapshot(state: InferenceState) -> Any:
    """Everything a session knows, but the features; comparable with ==."""

    def plain(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.float().tolist()
        if hasattr(value, "items") and hasattr(value, "keys"):
            return {k: plain(v) for k, v in value.items() if k != "cached_features"}
        if isinstance(value, (list, tuple)):
            return [plain(v) for v in value]
        return copy.copy(value)

    return plain(state)

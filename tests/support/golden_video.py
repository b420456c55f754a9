"""Formula-made weights and inputs of the tracker and video goldens.

All draws are float64 numpy ``RandomState`` streams, which numpy keeps unchanged for good, and are
cast at the end. The scripted detector, tracker and scene stand in ``scripted_video.py`` and can be
imported from here.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .scripted_video import ScriptDetector, ScriptTracker, rect_logits, story

__all__ = [
    "ScriptDetector",
    "ScriptTracker",
    "StubBackbone",
    "cached_features",
    "fill",
    "rect_logits",
    "rnd",
    "smooth_map",
    "story",
    "synthetic_image",
    "tracker_features",
    "value_for",
]

LEVEL_SIDES = (288, 144, 72)
EMBEDDINGS = (
    "embed",
    "embed.weight",
    "tokens.weight",
    "token.weight",
    "tpos_enc",
    "no_mem_pos_enc",
    "no_obj_ptr",
    "no_obj_embed_spatial",
)


def value_for(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The float64 weights called ``name``; the scheme is chosen by name and shape."""
    stream = np.random.RandomState(zlib.crc32(name.encode("utf-8")))
    if name.endswith("positional_encoding_gaussian_matrix"):
        return stream.standard_normal(shape)
    if name.split(".")[-1] == "gamma":
        mean, spread = 0.5, 0.25
    elif len(shape) < 2:
        mean, spread = (1.0, 0.1) if name.endswith(".weight") else (0.0, 0.1)
    elif shape[0] == 1 or name.endswith(EMBEDDINGS) or "point_embeddings." in name:
        mean, spread = 0.0, 0.5
    else:
        return stream.standard_normal(shape) * (1.4 / math.sqrt(math.prod(shape[1:])))
    return mean + spread * stream.uniform(-1.0, 1.0, shape)


@torch.no_grad()
def fill(module: nn.Module, overrides: Mapping[str, Any] | None = None) -> nn.Module:
    """Fill every floating-point entry of the module's own state dict in place; return the module.

    ``overrides``: state-dict key -> a number for all elements, or an array.
    """
    overrides = overrides or {}
    for name, entry in module.state_dict().items():
        if name in overrides:
            value = torch.as_tensor(np.asarray(overrides[name])).to(entry.dtype)
            entry.copy_(value.expand_as(entry))
        elif entry.is_floating_point() and not name.endswith("freqs_cis"):
            drawn = np.asarray(value_for(name, tuple(entry.shape)), dtype=np.float64)
            entry.copy_(torch.from_numpy(drawn).to(entry.dtype))
    return module


def rnd(seed: int, *shape: int, lo: float = -1.0, hi: float = 1.0) -> Tensor:
    """float32, uniform in [lo, hi)."""
    return torch.from_numpy(np.random.RandomState(seed).uniform(lo, hi, shape).astype(np.float32))


def smooth_map(
    seed: int, channels: int, height: int, width: int, t: float = 0.0, n_base: int = 8
) -> Tensor:
    """float32 [channels, height, width]: random mixes of ``n_base`` plane waves at time ``t``."""
    stream = np.random.RandomState(seed)
    # the order of the draws is part of the format
    u = stream.uniform(-3, 3, n_base)[:, None, None]
    v = stream.uniform(-3, 3, n_base)[:, None, None]
    phase = stream.uniform(0, 2 * np.pi, n_base)[:, None, None]
    speed = stream.uniform(-0.4, 0.4, n_base)[:, None, None]
    mix = stream.uniform(-1, 1, (channels, n_base))
    x = ((np.arange(width) + 0.5) / width)[None, None, :]
    y = ((np.arange(height) + 0.5) / height)[None, :, None]
    waves = np.sin(2 * np.pi * (u * x + v * y) + phase + speed * t)
    mixed = mix @ waves.reshape(n_base, height * width)
    return torch.from_numpy(mixed.reshape(channels, height, width).astype(np.float32))


def synthetic_image(seed: int, height: int, width: int) -> np.ndarray:
    """uint8 [height, width, 3]: a smooth map stretched to 0..255."""
    values = smooth_map(seed, 3, height, width).numpy()
    low, high = values.min(), values.max()
    levels = np.floor((values - low) / (high - low) * 255.0 + 0.5).astype(np.uint8)
    return np.ascontiguousarray(levels.transpose(1, 2, 0))


def tracker_features(seed: int, t: float, raw: bool = False) -> dict[str, Any]:
    """Backbone output of frame ``t`` at 288, 144, 72: 32, 64, 256 channels, ``raw`` 256 each."""
    widths = (256, 256, 256) if raw else (32, 64, 256)
    levels = [
        smooth_map(100 * seed + k, width, side, side, t)[None]
        for k, (width, side) in enumerate(zip(widths, LEVEL_SIDES, strict=True), start=1)
    ]
    positions = [torch.zeros(1, 1, side, side) for side in LEVEL_SIDES[:2]]
    positions.append(smooth_map(100 * seed + 4, 256, 72, 72)[None])
    return {
        "vision_features": levels[-1],
        "vision_pos_enc": positions,
        "backbone_fpn": levels,
    }


def cached_features(seed: int, num_frames: int) -> dict[int, tuple[Tensor, dict[str, Any]]]:
    """frame -> (a picture nobody looks at, {"tracker_backbone_out": features})."""
    return {
        t: (torch.zeros(1, 3, 2, 2), {"tracker_backbone_out": tracker_features(seed, t)})
        for t in range(num_frames)
    }


class StubBackbone(nn.Module):
    """A backbone by formula: tanh of pooled colours, mixed per level, plus half a smooth map."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def forward_image(self, x: Tensor) -> dict[str, Any]:
        levels = [self._level(x.float(), k, side) for k, side in enumerate(LEVEL_SIDES)]
        out = {
            "vision_features": levels[-1],
            "vision_pos_enc": [torch.zeros_like(level) for level in levels],
            "backbone_fpn": levels,
        }
        return {"sam2_backbone_out": out}

    def _level(self, x: Tensor, k: int, side: int) -> Tensor:
        pooled = F.adaptive_avg_pool2d(x, side)
        mixed = torch.einsum("cj,bjhw->bchw", rnd(self.seed + k, 256, 3), pooled)
        texture = smooth_map(100 * self.seed + 10 + k, 256, side, side)
        return torch.tanh(2.0 * mixed + 0.5 * texture)

"""Move a trained tiny model to a finer token grid: coarse training is three times cheaper."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from ...config import Sam3ImageConfig

POSITIONS = "pos_embed"
COMPUTED = "freqs_cis"


def coarse_config(config: Sam3ImageConfig, side: int) -> Sam3ImageConfig:
    """``config`` for pictures of ``side`` pixels: same patches, fewer tokens.

    ValueError where ``side`` is no multiple of the patch size.
    """
    return replace(config, vision=replace(config.vision, img_size=side, pretrain_img_size=side))


@torch.no_grad()
def load_grown(model: nn.Module, coarse: Mapping[str, Tensor]) -> None:
    """Load the state of a coarser model; position tables are resized, rotary tables kept.

    RuntimeError where other names or shapes differ.
    """
    own = model.state_dict()
    state = {
        name: own[name] if name.endswith(COMPUTED) else _fit(name, tensor, own[name])
        for name, tensor in coarse.items()
    }
    model.load_state_dict(state)


def _fit(name: str, tensor: Tensor, wanted: Tensor) -> Tensor:
    if not name.endswith(POSITIONS) or tensor.shape == wanted.shape:
        return tensor
    old, new = (math.isqrt(t.shape[1] - 1) for t in (tensor, wanted))
    grid = tensor[:, 1:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
    grid = nn.functional.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False)
    return torch.cat([tensor[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)

"""Starting values: a click finds and marks its place; memories are read where they were made."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sam3.builders.video import assemble_video_model
from sam3.config.presets import SAM3_TINY_VIDEO
from sam3.train.tiny.tracking.initialise import COARSE_SCALE, PLACE, initialise

GRID = SAM3_TINY_VIDEO.tracker.grid
CELL = SAM3_TINY_VIDEO.tracker.patch_size


@pytest.fixture(scope="module")
def video() -> Any:
    torch.manual_seed(0)
    model: Any = assemble_video_model(SAM3_TINY_VIDEO)
    initialise(model.detector.backbone.vision_backbone, model.tracker)
    return model.eval()


def click(video: Any, x: float, y: float) -> dict[str, torch.Tensor]:
    """Two-way attention after a click at the middle of cell (x, y) on quiet random features."""
    encoder, decoder = video.tracker.sam_prompt_encoder, video.tracker.sam_mask_decoder
    point = torch.tensor([[[(x + 0.5) * CELL, (y + 0.5) * CELL]]])
    sparse, dense = encoder((point, torch.ones(1, 1, dtype=torch.int64)), None, None)
    generator = torch.Generator().manual_seed(3)
    features = 0.5 * torch.randn(1, 64, GRID, GRID, generator=generator)
    own = [decoder.obj_score_token, decoder.iou_token, decoder.mask_tokens]
    tokens = torch.cat([*(table.weight for table in own), sparse[0]])[None]
    seen: dict[str, torch.Tensor] = {}
    first = decoder.transformer.layers[0].cross_attn_token_to_image

    def look(module: Any, args: tuple[torch.Tensor, ...], _: object) -> None:
        q, k, _v = module._project(*args)
        seen["looks"] = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)[0]

    handle = first.register_forward_hook(look)
    with torch.no_grad():
        _, seen["picture"] = decoder.transformer(features + dense, encoder.get_dense_pe(), tokens)
    handle.remove()
    return seen


def test_a_click_looks_at_its_place(video: Any) -> None:
    gains = []
    for x, y in ((2, 3), (9, 1), (5, 10), (6, 6), (1, 8), (10, 9)):
        looks = click(video, x, y)["looks"][:, -2].mean(0).unflatten(0, (GRID, GRID))
        near = looks[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
        gains.append(float(near.sum()) / (near.numel() / GRID**2))
    assert np.mean(gains) > 4 and min(gains) > 2, gains


def test_a_click_changes_the_picture(video: Any) -> None:
    one, other = (click(video, *place)["picture"] for place in ((2, 3), (9, 8)))
    assert (one - other).square().mean() > 0.1 * one.square().mean()


def test_neck_and_memory_start_as_described(video: Any) -> None:
    neck = video.detector.backbone.vision_backbone
    level = neck.scale_factors.index(min(neck.scale_factors))
    for mine, theirs in zip(
        neck.sam2_convs[level][-1].parameters(), neck.convs[level][-1].parameters(), strict=True
    ):
        torch.testing.assert_close(mine, COARSE_SCALE * theirs)
    for layer in video.tracker.transformer.encoder.layers:
        for attention in (layer.self_attn, layer.cross_attn_image):
            assert bool((attention.q_proj.bias == PLACE).all())
            assert bool((attention.k_proj.bias == PLACE).all())

"""A tiny model moved to a finer grid keeps its weights and sees the same places."""

from __future__ import annotations

import pytest
import torch

from sam3.config import presets
from sam3.model_builder import assemble_image_model
from sam3.train.tiny.grow import coarse_config, load_grown


def test_weights_move_and_positions_are_resized():
    config = presets.SAM3_TINY
    coarse = assemble_image_model(coarse_config(config, 96))
    fine = assemble_image_model(config)
    places = (torch.arange(8) + 0.5) / 8  # channel 0 holds y, channel 1 x
    table = torch.zeros(8, 8, config.vision.embed_dim)
    table[..., 0], table[..., 1] = places[:, None], places
    state = coarse.state_dict()
    state["backbone.vision_backbone.trunk.pos_embed"][0, 1:] = table.flatten(0, 1)
    rotary = fine.backbone.vision_backbone.trunk.blocks[0].attn.freqs_cis.clone()
    load_grown(fine, state)
    grown = fine.state_dict()
    name = "backbone.vision_backbone.trunk.pos_embed"
    for key, value in state.items():
        if key != name and not key.endswith("freqs_cis"):
            assert torch.equal(grown[key], value), key
    assert torch.equal(fine.backbone.vision_backbone.trunk.blocks[0].attn.freqs_cis, rotary)
    side = config.vision.grid
    inner = slice(3, side - 3)  # bicubic interpolation keeps ramps, away from the border
    places = (torch.arange(side)[inner] + 0.5) / side
    grid = grown[name][0, 1:].view(side, side, -1)[inner, inner]
    torch.testing.assert_close(
        grid[..., 0], places[:, None].expand(-1, len(places)), atol=0.01, rtol=0
    )
    torch.testing.assert_close(grid[..., 1], places.expand(len(places), -1), atol=0.01, rtol=0)


def test_other_shapes_are_refused():
    config = presets.SAM3_TINY
    coarse = assemble_image_model(coarse_config(config, 96)).state_dict()
    coarse["transformer.decoder.norm.weight"] = torch.zeros(3)
    with pytest.raises(RuntimeError, match="decoder.norm.weight"):
        load_grown(assemble_image_model(config), coarse)


def test_side_must_fit_the_patches():
    with pytest.raises(ValueError, match="multiple"):
        coarse_config(presets.SAM3_TINY, 100)

"""Memory encoder and memory attention against measured numbers, and their options."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sam3.errors import InputError
from sam3.model.decoder import (
    TransformerDecoderLayerv1,
    TransformerDecoderLayerv2,
    TransformerEncoderCrossAttention,
)
from sam3.model.memory import CXBlock, SimpleFuser, SimpleMaskDownSampler, SimpleMaskEncoder
from sam3.model.model_misc import MultiheadAttentionWrapper
from sam3.model.position_encoding import PositionEmbeddingSine
from sam3.sam.transformer import RoPEAttention
from tests.support import golden
from tests.support.golden_video import fill, rnd, smooth_map

S = 11
TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def gold():
    return golden.load("tracker/modules.npz")


def downsampler() -> SimpleMaskDownSampler:
    return SimpleMaskDownSampler(
        embed_dim=32, kernel_size=3, stride=2, padding=1, total_stride=16, interpol_size=[96, 96]
    )


def mask(side: int) -> torch.Tensor:
    return (4 * smooth_map(S + 17, 2, side, side)).sigmoid()[:, None]


@pytest.mark.parametrize("side", [84, 96, 128])
def test_mask_downsampler(gold, side):
    out = fill(downsampler()).eval()(mask(side))
    golden.assert_matches(gold, f"mask_downsampler.{side}", out, TOLERANCE)


def test_mask_downsampler_takes_one_size_without_interpolation():
    part = SimpleMaskDownSampler(embed_dim=8, total_stride=16)
    assert part(torch.zeros(1, 1, 64, 32)).shape == (1, 8, 4, 2)
    with pytest.raises(ValueError, match="power"):
        SimpleMaskDownSampler(total_stride=8)


@pytest.mark.parametrize("name", ["cxblock", "fuser"])
def test_fuser(gold, name):
    block = CXBlock(32, kernel_size=7, padding=3)
    part = block if name == "cxblock" else SimpleFuser(block, 2)
    out = fill(part).eval()(rnd(S + 18, 2, 32, 6, 6))
    golden.assert_matches(gold, name, out, TOLERANCE)


def test_cxblock_drops_whole_samples_in_training_only():
    block = fill(CXBlock(4, drop_path=0.5))
    x = rnd(1, 64, 4, 3, 3)
    changed = (block.train()(x) != x).flatten(1).any(1)
    assert 0 < int(changed.sum()) < 64
    assert (block.eval()(x) != x).flatten(1).any(1).all()


def test_fuser_with_projection_needs_the_width():
    fuser = SimpleFuser(CXBlock(4), 1, dim=4, input_projection=True)
    assert fuser(torch.zeros(1, 4, 3, 3)).shape == (1, 4, 3, 3)
    with pytest.raises(ValueError, match="dim"):
        SimpleFuser(CXBlock(4), 1, input_projection=True)


def encoder() -> SimpleMaskEncoder:
    return SimpleMaskEncoder(
        out_dim=16,
        mask_downsampler=downsampler(),
        fuser=SimpleFuser(CXBlock(32, kernel_size=7, padding=3), 2),
        position_encoding=PositionEmbeddingSine(num_pos_feats=16),
        in_dim=32,
    )


@pytest.mark.parametrize("skip", [False, True])
def test_mask_encoder(gold, skip):
    out = fill(encoder()).eval()(
        rnd(S + 19, 2, 32, 6, 6), mask(84) * 20 - 10, skip_mask_sigmoid=skip
    )
    golden.assert_matches(gold, f"mask_encoder.skip{int(skip)}", out["vision_features"], TOLERANCE)
    golden.assert_matches(gold, "mask_encoder.pos", out["vision_pos_enc"][0], TOLERANCE)


def test_mask_encoder_spreads_one_picture_over_all_masks():
    part = fill(encoder()).eval()
    pix, masks = rnd(1, 1, 32, 6, 6), rnd(2, 3, 1, 96, 96)
    together = part(pix, masks)["vision_features"]
    alone = torch.cat([part(pix, m[None])["vision_features"] for m in masks])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_mask_encoder_names_sizes_that_do_not_fit():
    with pytest.raises(InputError, match="interpol_size"):
        encoder()(torch.zeros(1, 32, 5, 5), torch.zeros(1, 1, 96, 96))


def layer(**changes) -> TransformerDecoderLayerv2:
    arguments = dict(
        activation="relu",
        d_model=32,
        dim_feedforward=64,
        dropout=0.1,
        pos_enc_at_attn=False,
        pos_enc_at_cross_attn_keys=True,
        pos_enc_at_cross_attn_queries=False,
        pre_norm=True,
        self_attention=RoPEAttention(32, 1, feat_sizes=(4, 4)),
        cross_attention=RoPEAttention(32, 1, kv_in_dim=16, rope_k_repeat=True, feat_sizes=(4, 4)),
    )
    return TransformerDecoderLayerv2(**{**arguments, **changes})


def stack(**changes) -> TransformerEncoderCrossAttention:
    return TransformerEncoderCrossAttention(
        d_model=32,
        frozen=False,
        pos_enc_at_input=True,
        layer=layer(**changes),
        num_layers=2,
        batch_first=True,
    )


INPUTS = {
    "src": rnd(S + 26, 16, 2, 32),
    "src_pos": rnd(S + 27, 16, 2, 32),
    "prompt": rnd(S + 28, 40, 2, 16),
    "prompt_pos": rnd(S + 29, 40, 2, 16),
}


@pytest.mark.parametrize("as_lists", [False, True])
def test_memory_attention(gold, as_lists):
    inputs = dict(INPUTS)
    if as_lists:
        inputs |= {"src": [inputs["src"]], "src_pos": [inputs["src_pos"]]}
        inputs |= {"src_key_padding_mask": [None]}
    out = fill(stack()).eval()(**inputs, num_obj_ptr_tokens=8)
    golden.assert_matches(gold, "memory_attention", out["memory"], TOLERANCE)
    golden.assert_matches(gold, "memory_attention.pos", out["pos_embed"], TOLERANCE)
    assert out["padding_mask"] is None


def test_memory_attention_is_independent_per_object():
    part = fill(stack()).eval()
    both = part(**INPUTS, num_obj_ptr_tokens=8)["memory"]
    second = part(**{k: v[:, 1:] for k, v in INPUTS.items()}, num_obj_ptr_tokens=8)["memory"]
    torch.testing.assert_close(both[:, 1:], second, atol=1e-5, rtol=1e-5)


def test_checkpointed_training_gives_the_same_gradients():
    part = fill(stack(dropout=0.0)).train()
    gradients = []
    for checkpointed in (False, True):
        part.use_act_checkpoint = checkpointed
        part.zero_grad()
        part(**INPUTS, num_obj_ptr_tokens=8)["memory"].square().sum().backward()
        gradients.append(part.layers[0].linear1.weight.grad.clone())
    torch.testing.assert_close(*gradients)


def test_cross_attention_first_exchanges_the_attentions():
    part = fill(layer(cross_attention_first=True)).eval()
    x, memory = rnd(1, 1, 16, 32), rnd(2, 1, 16, 16)
    out = part(x, memory)
    h = x + part.cross_attn_image(part.norm2(x), memory, memory)
    n = part.norm1(h)
    h = h + part.self_attn(n, n, n)
    h = h + part.linear2(part.linear1(part.norm3(h)).relu())
    torch.testing.assert_close(out, h)


@pytest.mark.parametrize("pre_norm", [True, False])
def test_v1_layer_with_ordinary_attention(pre_norm):
    """Every position switch acts, padding is ignored, post-norm ends normalised."""
    part = TransformerDecoderLayerv1(
        activation="relu",
        d_model=16,
        dim_feedforward=32,
        dropout=0.0,
        pos_enc_at_attn=True,
        pos_enc_at_cross_attn_keys=True,
        pos_enc_at_cross_attn_queries=True,
        pre_norm=pre_norm,
        self_attention=MultiheadAttentionWrapper(16, 2),
        cross_attention=MultiheadAttentionWrapper(16, 2),
    )
    nn.init.ones_(part.norm3.weight)
    x, memory, pos = rnd(1, 5, 2, 16), rnd(2, 7, 2, 16), rnd(3, 7, 2, 16)
    query_pos = rnd(4, 5, 2, 16)
    padding = torch.zeros(2, 7, dtype=torch.bool)
    padding[:, 4:] = True
    out = part(x, memory, memory_key_padding_mask=padding, pos=pos, query_pos=query_pos)
    memory[4:] = 100.0
    again = part(x, memory, memory_key_padding_mask=padding, pos=pos, query_pos=query_pos)
    torch.testing.assert_close(out, again)
    assert not torch.allclose(out, part(x, memory[:4], pos=pos[:4]))
    if not pre_norm:
        torch.testing.assert_close(out.mean(-1), torch.zeros(5, 2), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layer(pre_norm=False), "pre_norm"),
        (lambda: stack()(**{**INPUTS, "src": [INPUTS["src"]] * 2}), "one feature level"),
        (lambda: stack()(**{**INPUTS, "prompt": INPUTS["prompt"][:, :1]}), "batch size"),
        (lambda: stack()(**INPUTS, prompt_mask=torch.zeros(1)), "no masks"),
        (
            lambda: TransformerEncoderCrossAttention(
                32, False, True, layer(), 2, remove_cross_attention_layers=[0]
            ),
            "remove_cross",
        ),
    ],
)
def test_what_is_not_supported_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_frozen_stack_has_nothing_to_train():
    part = TransformerEncoderCrossAttention(32, True, True, layer(), 1)
    assert not any(p.requires_grad for p in part.parameters())

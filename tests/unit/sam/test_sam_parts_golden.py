"""Prompt encoder, attentions and mask decoder against numbers measured on the reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sam3.sam.mask_decoder import MaskDecoder
from sam3.sam.prompt_encoder import PromptEncoder
from sam3.sam.rope import compute_axial_cis
from sam3.sam.transformer import Attention, RoPEAttention, TwoWayTransformer
from tests.support import golden
from tests.support.golden_video import fill, rnd

S = 11  # the seed of the golden set
TOLERANCE, FLOOR = 2e-5, 1e-6


@pytest.fixture(scope="module")
def gold():
    return golden.load("tracker/modules.npz")


def check(gold, key, actual):
    actual, expected = golden.to_numpy(actual), gold[key]
    assert actual.shape == expected.shape, key
    peak = np.abs(expected).max() if expected.size else 0.0
    atol = TOLERANCE * peak + FLOOR
    np.testing.assert_allclose(actual, expected, rtol=0, atol=atol, err_msg=key)


def two_way_transformer() -> TwoWayTransformer:
    return TwoWayTransformer(depth=2, embedding_dim=32, num_heads=4, mlp_dim=64)


def mask_decoder() -> MaskDecoder:
    return MaskDecoder(
        transformer_dim=32,
        transformer=two_way_transformer(),
        iou_head_depth=3,
        iou_head_hidden_dim=32,
        use_high_res_features=True,
        iou_prediction_use_sigmoid=True,
        dynamic_multimask_via_stability=True,
        dynamic_multimask_stability_delta=0.05,
        dynamic_multimask_stability_thresh=0.98,
        pred_obj_scores=True,
        pred_obj_scores_mlp=True,
        use_multimask_token_for_obj_ptr=True,
    )


@pytest.mark.parametrize(
    ("case", "kinds"),
    [
        ("pts", {"points"}),
        ("pts_box", {"points", "boxes"}),
        ("box", {"boxes"}),
        ("mask", {"points", "masks"}),
        ("none", set()),
    ],
)
@torch.no_grad()
def test_prompt_encoder(gold, case, kinds):
    encoder = fill(PromptEncoder(32, (6, 8), (84, 112), mask_in_chans=16)).eval()
    labels = torch.tensor([[1, 0, 2, 3, -1], [0, 1, -1, -1, 1]], dtype=torch.int32)
    given = {
        "points": (rnd(S + 1, 2, 5, 2, lo=0, hi=84), labels),
        "boxes": rnd(S + 2, 2, 4, lo=0, hi=84),
        "masks": rnd(S + 3, 2, 1, 24, 32, lo=-6, hi=6),
    }
    sparse, dense = encoder(**{k: v if k in kinds else None for k, v in given.items()})
    check(gold, f"prompt_encoder.{case}.sparse", sparse)
    check(gold, f"prompt_encoder.{case}.dense", dense)
    check(gold, "prompt_encoder.dense_pe", encoder.get_dense_pe())


@torch.no_grad()
def test_two_way_transformer(gold):
    transformer = fill(two_way_transformer()).eval()
    queries, keys = transformer(
        rnd(S + 4, 2, 32, 5, 6), rnd(S + 5, 2, 32, 5, 6), rnd(S + 6, 2, 7, 32)
    )
    check(gold, "two_way.queries", queries)
    check(gold, "two_way.keys", keys)


@pytest.mark.parametrize("case", ["multi", "single", "repeat"])
@torch.no_grad()
def test_mask_decoder(gold, case):
    decoder = fill(mask_decoder()).eval()
    repeat = case == "repeat"
    image, fine = rnd(S + 7, 2, 32, 6, 8), [rnd(S + 11, 2, 4, 24, 32), rnd(S + 12, 2, 8, 12, 16)]
    sparse, dense = rnd(S + 9, 2, 4, 32), rnd(S + 10, 2, 32, 6, 8)
    if repeat:
        image, fine = image[:1], [level[:1] for level in fine]
        sparse, dense = rnd(S + 13, 3, 2, 32), rnd(S + 14, 3, 32, 6, 8)
    out = decoder(
        image_embeddings=image,
        image_pe=rnd(S + 8, 1, 32, 6, 8),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=case != "single",
        repeat_image=repeat,
        high_res_features=fine,
    )
    for name, value in zip(("masks", "iou", "tokens", "obj"), out, strict=True):
        check(gold, f"mask_decoder.{case}.{name}", value)


def test_single_mask_by_stability(gold):
    logits = rnd(S + 15, 6, 4, 8, 8, lo=-0.2, hi=1)
    logits[0, 0], logits[1, 0] = 3, -3
    logits[2, 0, :4], logits[2, 0, 4:] = 2, -2
    logits[3, 0] = torch.where(logits[3, 0] > 0.9, 0.0, 2.0)
    ious = rnd(S + 16, 6, 4, lo=0, hi=1)
    decoder = mask_decoder().eval()
    masks, chosen = decoder._dynamic_multimask_via_stability(logits, ious)
    check(gold, "stability.masks", masks)
    check(gold, "stability.iou", chosen)
    check(gold, "stability.scores", decoder._get_stability_scores(logits[:, :1]))


@torch.no_grad()
def test_attention(gold):
    attention = fill(Attention(32, 4, downsample_rate=2)).eval()
    q, k, v = rnd(S + 20, 2, 5, 32), rnd(S + 21, 2, 9, 32), rnd(S + 22, 2, 9, 32)
    check(gold, "attention", attention(q, k, v))


def test_axial_table(gold):
    table = compute_axial_cis(32, end_x=5, end_y=3)
    check(gold, "axial_cis.re", table.real)
    check(gold, "axial_cis.im", table.imag)


@pytest.mark.parametrize("real", [False, True])
@torch.no_grad()
def test_rotary_self_attention(gold, real):
    attention = fill(RoPEAttention(32, 1, feat_sizes=(4, 4), use_rope_real=real)).eval()
    for tokens, seed in ((16, S + 23), (36, S + 24), (16, S + 23)):
        x = rnd(seed, 2, tokens, 32)
        check(gold, f"rope.self{tokens}", attention(x, x, x))


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize(("case", "keys", "excluded"), [("ex8", 56, 8), ("ex0", 48, 0)])
@torch.no_grad()
def test_rotary_cross_attention(gold, case, keys, excluded, real):
    attention = fill(
        RoPEAttention(
            32, 1, kv_in_dim=16, rope_k_repeat=True, feat_sizes=(4, 4), use_rope_real=real
        )
    ).eval()
    memory = rnd(S + 25, 2, 56, 16)[:, :keys]
    out = attention(rnd(S + 23, 2, 16, 32), memory, memory, num_k_exclude_rope=excluded)
    check(gold, f"rope.cross_{case}", out)

"""Behaviour of the SAM parts that no golden number fixes: options, errors, number formats."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from sam3.errors import InputError, MissingDependencyError
from sam3.perflib import capabilities
from sam3.sam.mask_decoder import ALWAYS_PRESENT, MaskDecoder
from sam3.sam.prompt_encoder import PositionEmbeddingRandom, PromptEncoder
from sam3.sam.transformer import Attention, RoPEAttention, TwoWayTransformer


def encoder() -> PromptEncoder:
    torch.manual_seed(0)
    return PromptEncoder(16, (4, 6), (56, 84), mask_in_chans=8)


def decoder(**options) -> MaskDecoder:
    torch.manual_seed(0)
    return MaskDecoder(
        transformer_dim=16, transformer=TwoWayTransformer(1, 16, 2, 16), **options
    ).eval()


def decode(model, batch=2, multimask=False, repeat=False, **inputs):
    torch.manual_seed(1)
    images = 1 if repeat else batch
    return model(
        torch.randn(images, 16, 4, 6),
        torch.randn(1, 16, 4, 6),
        torch.randn(batch, 3, 16),
        torch.randn(batch, 16, 4, 6),
        multimask_output=multimask,
        repeat_image=repeat,
        **inputs,
    )


def test_random_frequencies_have_the_asked_spread():
    torch.manual_seed(0)
    for scale, std in ((None, 1.0), (-1.0, 1.0), (3.0, 3.0)):
        matrix = PositionEmbeddingRandom(2000, scale).positional_encoding_gaussian_matrix
        assert matrix.shape == (2, 2000)
        assert abs(matrix.std().item() - std) < 0.1 * std


def test_grid_code_is_the_code_of_pixel_centres():
    layer = PositionEmbeddingRandom(8)
    grid = layer((4, 6))
    centre = layer.forward_with_coords(torch.tensor([[5.5, 2.5]]), (4, 6))
    torch.testing.assert_close(grid[:, 2, 5], centre[0])


@torch.no_grad()
def test_unknown_labels_leave_the_bare_code():
    model = encoder()
    coords = torch.tensor([[[3.0, 5.0], [3.0, 5.0]]])
    sparse, _ = model((coords, torch.tensor([[7, -2]])), None, None)
    bare = model.pe_layer.forward_with_coords(coords + 0.5, (56, 84))
    torch.testing.assert_close(sparse[:, :2], bare)


@torch.no_grad()
def test_padding_token_only_without_boxes():
    model = encoder()
    points = (torch.rand(1, 2, 2), torch.ones(1, 2, dtype=torch.int64))
    box = torch.tensor([[1.0, 2.0, 30.0, 40.0]])
    with_box, _ = model(points, box, None)
    without, _ = model(points, None, None)
    assert with_box.shape == (1, 4, 16) and without.shape == (1, 3, 16)
    torch.testing.assert_close(without[:, 2], model.not_a_point_embed.weight)
    torch.testing.assert_close(with_box[:, :2], without[:, :2])


@torch.no_grad()
def test_box_is_its_two_corner_points():
    model = encoder()
    box = torch.tensor([[1.0, 2.0, 30.0, 40.0], [5.0, 6.0, 70.0, 50.0]])
    boxed, _ = model(None, box, None)
    corners, _ = model((box.reshape(2, 2, 2), torch.tensor([[2, 3], [2, 3]])), None, None)
    torch.testing.assert_close(boxed, corners[:, :2])


def test_mask_of_another_size_is_refused():
    with pytest.raises(InputError, match=r"\[B, 1, 16, 24\].*resize"):
        encoder()(None, None, torch.zeros(1, 1, 8, 8))


@torch.no_grad()
def test_codes_are_made_in_float32_whatever_the_weights():
    model = encoder()
    half = copy.deepcopy(model)
    for parameter in half.parameters():
        parameter.data = parameter.data.bfloat16()
    points = (torch.tensor([[[13.0, 41.0]]]), torch.ones(1, 1, dtype=torch.int64))
    fine, _ = model(points, None, torch.zeros(1, 1, 16, 24))
    coarse, dense = half(points, None, torch.zeros(1, 1, 16, 24))
    assert coarse.dtype == dense.dtype == half.get_dense_pe().dtype == torch.bfloat16
    torch.testing.assert_close(coarse.float(), fine, atol=0.03, rtol=0)


def test_attention_refuses_uneven_heads():
    with pytest.raises(ValueError, match="multiple of num_heads 3"):
        Attention(32, 3)


def test_float8_attention_names_what_is_missing(monkeypatch):
    monkeypatch.setattr(capabilities, "has_flash_attention_3", lambda: False)
    x = torch.randn(1, 4, 16)
    with pytest.raises(MissingDependencyError, match="flash_attn_interface"):
        Attention(16, 2, use_fa3=True)(x, x, x)


def test_rotary_table_is_no_parameter_and_follows_the_grid():
    attention = RoPEAttention(16, 1, feat_sizes=(6, 4))
    assert not any("freqs" in name or "table" in name for name in attention.state_dict())
    for tokens in (24, 9, 24):
        x = torch.randn(1, tokens, 16)
        assert attention(x, x, x).shape == x.shape
    with pytest.raises(InputError, match="square"):
        attention(x[:, :7], x[:, :7], x[:, :7])
    with pytest.raises(InputError, match="leave out"):
        attention(x, x, x, num_k_exclude_rope=25)


def test_rotary_table_made_without_gradients_serves_training():
    attention = RoPEAttention(16, 1, feat_sizes=(4, 4))
    x = torch.randn(1, 16, 16)
    with torch.inference_mode():
        attention(x, x, x)
    attention(x, x, x).sum().backward()
    assert attention.q_proj.weight.grad is not None


def test_rotary_attention_depends_on_relative_position_only():
    """Equal contents everywhere: every query sees the same, whatever its place."""
    attention = RoPEAttention(16, 1, feat_sizes=(3, 3)).eval()
    x = torch.randn(1, 1, 16).expand(1, 9, 16)
    out = attention(x, x, x)
    torch.testing.assert_close(out, out[:, :1].expand_as(out))


@torch.no_grad()
def test_plain_decoder_has_no_presence_and_no_fine_features():
    model = decoder()
    names = set(model.state_dict())
    assert not any(n.startswith(("obj_score", "pred_obj", "conv_s")) for n in names)
    masks, ious, tokens, presence = decode(model)
    assert masks.shape == (2, 1, 16, 24) and ious.shape == (2, 1) and tokens.shape == (2, 1, 16)
    assert torch.equal(presence, torch.full((2, 1), ALWAYS_PRESENT))
    masks, _, tokens, _ = decode(model, multimask=True)
    assert masks.shape[1] == 3 and tokens.shape[1] == 1


def test_linear_presence_head():
    model = decoder(pred_obj_scores=True)
    assert isinstance(model.pred_obj_score_head, nn.Linear)
    assert decode(model)[3].shape == (2, 1)


@torch.no_grad()
def test_repeated_image_equals_separate_calls():
    model = decoder(pred_obj_scores=True)
    torch.manual_seed(1)
    image, pe = torch.randn(1, 16, 4, 6), torch.randn(1, 16, 4, 6)
    sparse, dense = torch.randn(3, 3, 16), torch.randn(3, 16, 4, 6)
    together = model(image, pe, sparse, dense, True, True)
    for i in range(3):
        alone = model(image, pe, sparse[i : i + 1], dense[i : i + 1], True, False)
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a[i : i + 1], b, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_stability_only_decides_outside_training():
    model = decoder(dynamic_multimask_via_stability=True, dynamic_multimask_stability_thresh=1.01)
    everything = decode_all(model)
    masks, ious, _, _ = decode(model)
    best = everything[1][:, 1:].argmax(1) + 1
    rows = torch.arange(2)
    torch.testing.assert_close(masks[:, 0], everything[0][rows, best])
    torch.testing.assert_close(ious[:, 0], everything[1][rows, best])
    torch.testing.assert_close(decode(model.train())[0], everything[0][:, :1])


def decode_all(model):
    torch.manual_seed(1)
    inputs = [torch.randn(2, 16, 4, 6), torch.randn(1, 16, 4, 6)]
    inputs += [torch.randn(2, 3, 16), torch.randn(2, 16, 4, 6)]
    return model.predict_masks(*inputs, repeat_image=False)


def test_decoder_says_what_is_missing():
    with pytest.raises(ValueError, match="high_res_features"):
        decode(decoder(use_high_res_features=True))
    model = decoder()
    image = torch.randn(1, 16, 4, 6)
    with pytest.raises(ValueError, match="repeat_image"):
        model(image, image, torch.randn(3, 2, 16), torch.randn(3, 16, 4, 6), True, False)

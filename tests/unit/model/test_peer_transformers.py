"""Our image model against transformers' ``Sam3Model`` with the same random weights, both ways."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from benchmarks import peer
from sam3.checkpoint import from_huggingface, to_huggingface
from sam3.config import (
    DecoderConfig,
    GeometryConfig,
    NeckConfig,
    Sam3ImageConfig,
    TextConfig,
    VisionConfig,
)
from sam3.model.data_misc import FindStage
from sam3.model.geometry_encoders import Prompt
from sam3.model_builder import assemble_image_model

SMALL = Sam3ImageConfig(
    name="peer",
    d_model=32,
    num_heads=8,
    dim_feedforward=48,
    encoder_layers=2,
    vision=VisionConfig(
        img_size=112,
        pretrain_img_size=56,
        embed_dim=64,
        depth=3,
        num_heads=4,
        mlp_ratio=2.5,
        window_size=4,
        global_blocks=(1,),
    ),
    text=TextConfig(width=32, heads=4, layers=2, num_merges=40),
    geometry=GeometryConfig(layers=2),
    decoder=DecoderConfig(layers=3, num_queries=12),
)
CONFIGS = {
    "whole windows": SMALL,
    # a 7 x 7 grid: windows of 4 are padded, the 4 x 4 position table is cut when tiled
    "padded windows": replace(
        SMALL,
        num_heads=4,
        vision=replace(SMALL.vision, patch_size=16, pretrain_img_size=64, global_blocks=(0, 2)),
        text=replace(SMALL.text, width=48),
        geometry=GeometryConfig(layers=1, roi_size=5),
    ),
}
CAPTIONS = ["the red car", "a cat on an orange mat"]
# Row 1 has one box only: its second is padding.
BOXES = torch.tensor([[[0.3, 0.4, 0.2, 0.5], [0.7, 0.6, 0.3, 0.3]], [[0.5, 0.5, 0.9, 0.2]] * 2])
LABELS = torch.tensor([[1, 0], [1, 1]])
PADDED = torch.tensor([[False, False], [False, True]])
PEER_PADDING_LABEL = -10


@pytest.fixture(scope="module", autouse=True)
def _needs_the_peer():
    # asked when a test runs: importing transformers takes seconds
    reason = peer.missing_peer()
    if reason is not None:
        pytest.skip(reason)


def build_ours(config):
    return assemble_image_model(config).eval()


def build_peer(config):
    import transformers

    return transformers.Sam3Model(peer.peer_config(config)).eval()


def tokens_of(model, captions):
    encoder = model.backbone.language_backbone
    return encoder.tokenizer(captions, context_length=encoder.context_length)


def run_ours(model, pixels, captions=CAPTIONS):
    features = model.backbone.forward_image(pixels) | model.backbone.forward_text(captions)
    ids = torch.arange(2)
    prompt = Prompt(
        box_embeddings=BOXES.transpose(0, 1),
        box_labels=LABELS.bool().transpose(0, 1),
        box_mask=PADDED,
    )
    stage = FindStage.for_texts(img_ids=ids, text_ids=ids)
    return model.forward_grounding(features, stage, None, prompt)


def run_peer(model, pixels, tokens):
    return model(
        pixel_values=pixels,
        input_ids=tokens,
        attention_mask=(tokens != 0).long(),
        input_boxes=BOXES,
        input_boxes_labels=LABELS.masked_fill(PADDED, PEER_PADDING_LABEL),
    )


def relative_error(ours, theirs):
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def compare(ours, theirs):
    """Relative error of every output that both have."""
    limit = peer.PRESENCE_CLAMP
    presence = theirs.presence_logits.reshape(2, 1)
    assert presence.abs().max() < limit, "choose weights whose presence stays inside the clamp"
    pairs = {
        "pred_logits": (ours["pred_logits"].squeeze(-1), theirs.pred_logits),
        "pred_boxes_xyxy": (ours["pred_boxes_xyxy"], theirs.pred_boxes),
        "presence_logit_dec": (ours["presence_logit_dec"], presence),
        "pred_masks": (ours["pred_masks"], theirs.pred_masks),
        "semantic_seg": (ours["semantic_seg"], theirs.semantic_seg),
    }
    for name, (a, b) in pairs.items():
        assert a.shape == b.shape, name
        assert b.std() > 1e-3, f"{name} is constant: it could not show a difference"
    return {name: relative_error(a, b) for name, (a, b) in pairs.items()}


@pytest.fixture(params=CONFIGS, scope="module")
def config(request):
    return CONFIGS[request.param]


@pytest.fixture(scope="module")
def pixels():
    return torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(7))


def fill_our_gaps(model, state):
    """What the peer's layout lacks: computed tables and the point projections (unused here)."""
    own = model.state_dict()
    absent = {k for k in own if k not in state}
    assert all(k.endswith(".freqs_cis") or ".points_" in k for k in absent), sorted(absent)
    return {**state, **{k: own[k] for k in absent}}


@torch.inference_mode()
def test_peer_weights_in_our_model(config, pixels):
    theirs, ours = build_peer(config), build_ours(config)
    state = theirs.state_dict()
    peer.fill_randomly(state, seed=1)
    ours.load_state_dict(fill_our_gaps(ours, from_huggingface(state)), strict=True)
    errors = compare(run_ours(ours, pixels), run_peer(theirs, pixels, tokens_of(ours, CAPTIONS)))
    assert max(errors.values()) < 1e-4, errors


@torch.inference_mode()
def test_our_weights_in_the_peer(config, pixels):
    theirs, ours = build_peer(config), build_ours(config)
    peer.fill_randomly(ours.state_dict(), seed=2)
    exported = to_huggingface(ours.state_dict(), keep_extras=False)
    theirs.load_state_dict(exported, strict=True)
    errors = compare(run_ours(ours, pixels), run_peer(theirs, pixels, tokens_of(ours, CAPTIONS)))
    assert max(errors.values()) < 1e-4, errors


def test_sizes_without_a_word_in_the_peer_are_refused():
    three_levels = replace(SMALL, neck=NeckConfig(scale_factors=(4, 2, 1), scalp=0))
    with pytest.raises(ValueError, match="always drops one pyramid level"):
        peer.peer_config(three_levels)


@torch.inference_mode()
@pytest.mark.parametrize("name", ["norm1", "catext_norm", "norm2"])
def test_a_swapped_name_would_show(name, pixels):
    """The comparison notices one wrong entry of the key table: two decoder norms exchanged."""
    config = CONFIGS["whole windows"]
    theirs, ours = build_peer(config), build_ours(config)
    peer.fill_randomly(theirs.state_dict(), seed=1)
    state = fill_our_gaps(ours, from_huggingface(theirs.state_dict()))
    first = f"transformer.decoder.layers.0.{name}.weight"
    second = "transformer.decoder.layers.0.norm3.weight"
    state[first], state[second] = state[second], state[first]
    ours.load_state_dict(state, strict=True)
    errors = compare(run_ours(ours, pixels), run_peer(theirs, pixels, tokens_of(ours, CAPTIONS)))
    assert max(errors.values()) > 1e-4, errors

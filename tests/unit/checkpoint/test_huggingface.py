"""The Hugging Face key table: lossless round trip, and exactly the names of ``Sam3Model``."""

from __future__ import annotations

import pytest
import torch

from sam3.checkpoint import from_huggingface, to_huggingface
from sam3.errors import CheckpointMismatchError

POINTS = "geometry_encoder.points_"


def test_round_trip_is_identity_on_every_name(small, random_state):
    state = random_state(small["image"])
    back = from_huggingface(to_huggingface(state))
    weights = {name: t for name, t in state.items() if not name.endswith(".freqs_cis")}
    assert len(state) == 1134 and len(weights) == 1102
    assert back.keys() == weights.keys()
    for name, tensor in weights.items():
        assert torch.equal(back[name], tensor), name


def test_without_extras_only_the_unused_row_and_points_are_lost(small, random_state):
    state = random_state(small["image"])
    back = from_huggingface(to_huggingface(state, keep_extras=False))
    lost = {name for name in state if name not in back and not name.endswith(".freqs_cis")}
    assert lost == {name for name in state if name.startswith(POINTS)} and len(lost) == 6
    table = "backbone.vision_backbone.trunk.pos_embed"
    assert not back[table][:, 0].any()
    assert torch.equal(back[table][:, 1:], state[table][:, 1:])
    for name in back.keys() - {table}:
        assert torch.equal(back[name], state[name]), name


def test_order_of_query_key_value(small, random_state):
    state = random_state(small["image"])
    theirs = to_huggingface(state)
    ours = state["transformer.decoder.layers.2.ca_text.in_proj_weight"]
    width = ours.shape[1]
    for index, letter in enumerate("qkv"):
        part = theirs[f"detr_decoder.layers.2.text_cross_attn.{letter}_proj.weight"]
        assert torch.equal(part, ours[index * width : (index + 1) * width])


def test_names_and_shapes_are_those_of_transformers(names):
    transformers = pytest.importorskip("transformers")
    if not hasattr(transformers, "Sam3Model"):
        pytest.skip("this transformers has no Sam3Model")
    with torch.device("meta"):
        peer = transformers.Sam3Model(transformers.Sam3Config()).state_dict()
        state = {
            name: torch.empty(shape, dtype=getattr(torch, dtype))
            for name, shape, dtype in names["image"]
        }
    ours = to_huggingface(state, keep_extras=False)
    assert {n: t.shape for n, t in ours.items()} == {n: t.shape for n, t in peer.items()}
    back = from_huggingface(peer)
    expected = {
        n: t.shape
        for n, t in state.items()
        if not n.endswith(".freqs_cis") and not n.startswith(POINTS)
    }
    assert {n: t.shape for n, t in back.items()} == expected


def test_video_layout_drops_the_tracker(small, random_state):
    state = random_state(small["image"])
    theirs = {"detector_model." + n: t for n, t in to_huggingface(state).items()}
    theirs["tracker_model.x"] = theirs["tracker_neck.y"] = torch.zeros(1)
    assert from_huggingface(theirs).keys() == from_huggingface(to_huggingface(state)).keys()


@pytest.mark.parametrize(
    ("convert", "state", "message"),
    [
        (to_huggingface, {"inst_interactive_predictor.model.x": 0}, "1 names have no counterpart"),
        (to_huggingface, {"backbone.vision_backbone.convs.0.other": 0}, "convs.0.other"),
        (from_huggingface, {"vision_encoder.new": 0}, "vision_encoder.new"),
        (
            from_huggingface,
            {"detr_decoder.layers.0.self_attn.q_proj.weight": 0},
            "self_attn.q_proj",  # k and v are missing
        ),
    ],
)
def test_unknown_names(convert, state, message):
    with pytest.raises(CheckpointMismatchError, match=message):
        convert({name: torch.zeros(1) for name in state})

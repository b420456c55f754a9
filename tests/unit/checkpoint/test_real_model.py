"""The real model classes against the published names, and through every layout and back."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from sam3.checkpoint import describe, load_image_weights, save_checkpoint, to_huggingface
from sam3.config import presets
from sam3.model_builder import assemble_image_model, build_sam3_image_model

PREDICTOR = "inst_interactive_predictor.model."


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(3)
    return build_sam3_image_model(config=presets.SAM3_TINY, load_from_HF=False, device="cpu")


def test_released_model_has_exactly_the_published_names(names):
    with torch.device("meta"):
        state = assemble_image_model(presets.SAM3_IMAGE).state_dict()
    found = {name: (list(t.shape), str(t.dtype)) for name, t in state.items()}
    assert found == {name: (shape, f"torch.{dtype}") for name, shape, dtype in names["image"]}
    assert len(found) == 1134


@pytest.mark.parametrize("version", ["3.0", "3.1"])
def test_interactive_model_has_exactly_the_published_names(names, version):
    preset = presets.SAM3_IMAGE if version == "3.0" else presets.SAM31_IMAGE
    with torch.device("meta"):
        state = assemble_image_model(preset, enable_inst_interactivity=True).state_dict()
    entries = names["image"] + names["image_interactive_extra"]
    if version == "3.1":
        heads = ("sam_", "mask_downsample", "obj_ptr_proj", "no_mem_embed")
        entries = [
            entry
            for entry in entries
            if "convs.3." not in entry[0]
            and (
                not entry[0].startswith(PREDICTOR)
                or entry[0].removeprefix(PREDICTOR).startswith(heads)
            )
        ]
    expected = {name: (shape, f"torch.{dtype}") for name, shape, dtype in entries}
    assert {n: (list(t.shape), str(t.dtype)) for n, t in state.items()} == expected
    assert len(expected) == (1465 if version == "3.0" else 1130 + 157 + 18)


def weights_of(model):
    return {n: t for n, t in model.state_dict().items() if not n.endswith(".freqs_cis")}


@pytest.mark.parametrize("layout", ["own", "published", "wrapped pt", "huggingface"])
def test_tiny_model_through_every_layout(layout, tiny, tmp_path):
    config = tiny.config.to_dict()
    state = {f"detector.{name}": t.clone() for name, t in weights_of(tiny).items()}
    path = tmp_path / "a.safetensors"
    if layout == "own":
        save_checkpoint(tiny, path)
    elif layout == "published":
        save_checkpoint(state, path, config=config)
    elif layout == "wrapped pt":
        path = tmp_path / "a.pt"
        torch.save({"model": state}, path)
    else:
        save_checkpoint(to_huggingface(tiny.state_dict()), path, config=config)
    given = presets.SAM3_TINY if layout == "wrapped pt" else None
    loaded = build_sam3_image_model(checkpoint_path=path, device="cpu", config=given)
    assert loaded.config == tiny.config
    expected = tiny.state_dict()
    for name, tensor in loaded.state_dict().items():
        assert not tensor.is_meta and torch.equal(tensor, expected[name]), name
    assert describe(path).image_model


def test_failed_load_leaves_a_working_model_as_it_was(tiny, tmp_path):
    from sam3.errors import CheckpointMismatchError

    state = {name: torch.zeros_like(t) for name, t in weights_of(tiny).items()}
    state.pop("transformer.decoder.query_embed.weight")
    save_file(state, tmp_path / "a.safetensors")
    before = {name: t.clone() for name, t in tiny.state_dict().items()}
    with pytest.raises(CheckpointMismatchError, match="query_embed"):
        load_image_weights(tiny, tmp_path / "a.safetensors")
    assert all(torch.equal(t, before[name]) for name, t in tiny.state_dict().items())

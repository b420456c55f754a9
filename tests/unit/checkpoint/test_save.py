"""Saving: identity of save and load, atomic, configuration in the metadata, clear refusals."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from torch import nn

from sam3.checkpoint import load_image_weights, read_checkpoint, save_checkpoint
from sam3.checkpoint import save as save_module
from sam3.errors import CheckpointError, CheckpointFormatError, InputError

CONFIG = {"name": "tiny", "vision": {"img_size": 224, "scales": [4.0, 2.0]}}


def test_save_then_load_is_identity(tmp_path, small, random_state, image_model):
    state = random_state(small["image"])
    path = save_checkpoint(state, tmp_path / "deep" / "tiny.safetensors", config=CONFIG)
    raw = read_checkpoint(path)
    assert raw.config == CONFIG and raw.metadata["format"] == "pt"
    assert len(raw) == 1102  # no freqs_cis
    report = load_image_weights(image_model, raw)
    assert len(report.computed) == 32
    for name in report.loaded:
        assert torch.equal(image_model.get_parameter(name), state[name]), name
    assert [p.name for p in path.parent.iterdir()] == ["tiny.safetensors"]


def test_model_brings_its_own_config(tmp_path):
    model = nn.Linear(2, 2)
    model.config = SimpleNamespace(to_dict=lambda: CONFIG)
    path = save_checkpoint(model, tmp_path / "a.safetensors", metadata={"seed": "3"})
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["sam3_config"]) == CONFIG
        assert file.metadata()["seed"] == "3"


def test_shared_and_strided_tensors(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    state = {"a": base, "b": base, "row": base[1], "t": base.t(), "n": torch.tensor(3)}
    path = save_checkpoint(state, tmp_path / "a.safetensors", dtype=torch.float16)
    raw = read_checkpoint(path)
    assert set(raw) == set(state)
    for name, tensor in state.items():
        stored = raw.tensor(name)
        assert torch.equal(stored.to(tensor.dtype), tensor), name
        assert stored.dtype == (torch.float16 if tensor.is_floating_point() else torch.int64)


@pytest.mark.parametrize(
    ("state", "name", "options", "message"),
    [
        ({"a": torch.zeros(1)}, "a.pt", {}, r"a\.pt.*\.safetensors"),
        ({"a": torch.zeros(1, device="meta")}, "a.safetensors", {}, "meta device"),
        ({}, "a.safetensors", {}, "no tensor to save"),
        ({"a": torch.zeros(1)}, "a.safetensors", {"metadata": {"n": 3}}, "must be text"),
        ({"a": torch.zeros(1)}, "a.safetensors", {"config": {"x": object()}}, "JSON"),
    ],
)
def test_refusals(state, name, options, message, tmp_path):
    with pytest.raises(InputError, match=message):
        save_checkpoint(state, tmp_path / name, **options)
    assert list(tmp_path.iterdir()) == []


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    save_checkpoint({"a": torch.zeros(1)}, path)

    def full_disk(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(save_module.os, "replace", full_disk)
    with pytest.raises(CheckpointError, match="No space left"):
        save_checkpoint({"a": torch.ones(1)}, path)
    assert read_checkpoint(path).tensor("a").item() == 0.0
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_tracker_has_a_configuration_of_its_own(tmp_path):
    path = save_checkpoint(
        {"a": torch.zeros(1)}, tmp_path / "a.safetensors", config=CONFIG, tracker_config={"n": 1}
    )
    raw = read_checkpoint(path)
    assert raw.config == CONFIG and raw.tracker_config == {"n": 1}
    plain = save_checkpoint({"a": torch.zeros(1)}, tmp_path / "b.safetensors", config=CONFIG)
    assert read_checkpoint(plain).tracker_config is None


@pytest.mark.parametrize("text", ["not json", "[1, 2]"])
def test_broken_embedded_config(text, tmp_path):
    path = save_checkpoint(
        {"a": torch.zeros(1)}, tmp_path / "a.safetensors", metadata={"sam3_config": text}
    )
    with pytest.raises(CheckpointFormatError, match="sam3_config"):
        _ = read_checkpoint(path).config


def test_overwriting_the_file_a_model_is_mapped_from(tmp_path, small, random_state, image_model):
    path = save_checkpoint(random_state(small["image"]), tmp_path / "a.safetensors")
    load_image_weights(image_model, path, copy=False)
    name = "transformer.decoder.norm.weight"
    with torch.no_grad():
        image_model.get_parameter(name).fill_(5.0)
    state = {n: t for n, t in image_model.state_dict().items() if not t.is_meta}
    save_checkpoint(state, path)
    assert (read_checkpoint(path).tensor(name) == 5.0).all()


@pytest.mark.skipif(os.name != "posix", reason="file modes are a POSIX matter")
def test_file_is_as_readable_as_any_other(tmp_path):
    path = tmp_path / "model.safetensors"
    save_checkpoint({"weight": torch.zeros(3)}, path)
    other = tmp_path / "other"
    other.touch()
    assert path.stat().st_mode == other.stat().st_mode

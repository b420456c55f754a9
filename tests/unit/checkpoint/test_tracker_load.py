"""The tracker's weights out of a whole file, out of a file of its own, and refusals."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from sam3.checkpoint.save import save_checkpoint
from sam3.config import MemoryConfig, presets
from sam3.errors import CheckpointMismatchError
from sam3.model_builder import build_sam3_video_model, build_tracker

SMALL = replace(
    presets.SAM3_TINY_TRACKER, memory=MemoryConfig(dim=16, layers=1, dim_feedforward=32)
)
SAM31_MARKER = "detector.backbone.vision_backbone.propagation_convs.0.conv_1x1.weight"


def tracker(path=None, config=SMALL):
    return build_tracker(False, config=config, device="cpu", checkpoint_path=path)


@pytest.fixture(scope="module")
def state():
    return tracker().state_dict()


@pytest.mark.parametrize("prefix", ["tracker.", "", "inst_interactive_predictor.model."])
def test_weights_come_back(tmp_path, state, prefix):
    path = tmp_path / "weights.safetensors"
    stored = {prefix + name: tensor for name, tensor in state.items()}
    if prefix == "tracker.":
        stored["detector.dot_prod_scoring.hs_proj.weight"] = torch.zeros(2, 2)
    save_file(stored, path)
    loaded = tracker(path).state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_detector_weights_of_the_same_names_are_left_out(tmp_path, state):
    twins = [n for n in state if n.startswith("transformer.") and "freqs" not in n]
    stored = {f"detector.{name}": torch.full_like(state[name], 7.0) for name in twins}
    stored |= {f"tracker.{name}": tensor for name, tensor in state.items()}
    path = tmp_path / "weights.safetensors"
    save_file(stored, path)
    loaded = tracker(path).state_dict()
    assert twins and all(torch.equal(loaded[name], state[name]) for name in state)


@pytest.mark.parametrize("with_backbone", [False, True])
def test_a_whole_file_gives_the_tracker_and_its_backbone(tmp_path, with_backbone):
    config = presets.SAM3_TINY_VIDEO
    whole = build_sam3_video_model(config=config, load_from_HF=False, device="cpu")
    path = save_checkpoint(whole, tmp_path / "weights.safetensors", config=config.image.to_dict())
    loaded = build_tracker(
        True, with_backbone, config=config.tracker, device="cpu", checkpoint_path=path
    ).state_dict()
    wanted = whole.tracker.state_dict() | {
        f"backbone.{name}": tensor for name, tensor in whole.detector.backbone.state_dict().items()
    }
    assert with_backbone == any(name.startswith("backbone.") for name in loaded)
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in loaded.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("tracker.no_mem_embed"), "1 missing: no_mem_embed"),
        (lambda s: s.update({"tracker.colour": torch.zeros(1)}), "1 unexpected: tracker.colour"),
        (lambda s: s.update({"tracker.no_obj_ptr": torch.zeros(1, 3)}), "no_obj_ptr"),
        (lambda s: s.update({SAM31_MARKER: torch.zeros(1)}), "found version 3.1"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, state, change, message):
    stored = {f"tracker.{name}": tensor.clone() for name, tensor in state.items()}
    change(stored)
    path = tmp_path / "weights.safetensors"
    save_file(stored, path)
    with pytest.raises(CheckpointMismatchError, match=message):
        tracker(path)


def test_a_backbone_makes_the_features():
    model = build_tracker(True, with_backbone=True, config=presets.SAM3_TINY_TRACKER, device="cpu")
    with torch.no_grad():
        out = model.forward_image(torch.zeros(1, 3, 192, 192))
    assert [tuple(x.shape[1:]) for x in out["backbone_fpn"]] == [
        (8, 64, 64),
        (16, 32, 32),
        (64, 16, 16),
    ]
    assert not torch.is_autocast_enabled("cpu")
    assert not model.training and model.use_memory_selection

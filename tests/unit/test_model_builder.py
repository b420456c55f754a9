"""Builders: loading through the front door, devices, segmentation off, compile."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sam3.builders.interactive import assemble_interactive_predictor, tracker_config_for
from sam3.checkpoint import save_checkpoint
from sam3.config import presets
from sam3.errors import CheckpointFormatError, CheckpointMismatchError, DeviceError
from sam3.model.data_misc import FindStage
from sam3.model_builder import (
    assemble_image_model,
    build_sam3_image_model,
    compile_image_model,
    pick_device,
)


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    return build_sam3_image_model(config=presets.SAM3_TINY, load_from_HF=False, device="cpu")


@torch.inference_mode()
def _outputs(model):
    side = model.config.vision.img_size
    picture = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    features = model.backbone.forward_image(picture) | model.backbone.forward_text(["red circle"])
    stage = FindStage.for_texts(torch.tensor([0]), torch.tensor([0]))
    return model.forward_grounding(features, stage, None, model._get_dummy_prompt())


def test_saved_model_comes_back_the_same(tiny, tmp_path):
    path = tmp_path / "model.safetensors"
    save_checkpoint(tiny, path, config=tiny.config.to_dict())
    loaded = build_sam3_image_model(checkpoint_path=path, device="cpu")
    assert loaded.config == tiny.config and not loaded.training
    assert not any(t.is_meta for t in loaded.state_dict().values())
    a, b = _outputs(tiny), _outputs(loaded)
    for key in ("pred_logits", "pred_boxes", "pred_masks", "presence_logit_dec"):
        assert torch.equal(a[key], b[key]), key


def test_unusable_embedded_configuration_is_named(tiny, tmp_path):
    path = tmp_path / "model.safetensors"
    save_checkpoint(tiny, path, config=tiny.config.to_dict() | {"d_modle": 1})
    with pytest.raises(CheckpointFormatError, match="d_modle"):
        build_sam3_image_model(checkpoint_path=path, device="cpu")


def test_without_segmentation_there_are_no_masks():
    model = assemble_image_model(presets.SAM3_TINY, enable_segmentation=False).eval()
    out = _outputs(model)
    assert "pred_masks" not in out and out["pred_boxes"].shape[-1] == 4


def test_dropout_is_off_in_evaluation_and_matcher_is_silent(tiny):
    out = _outputs(tiny)
    assert not set(out) & {"aux_outputs", "indices", "pred_logits_o2m"}
    assert torch.equal(out["pred_masks"], _outputs(tiny)["pred_masks"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_missing_device_is_an_error():
    with pytest.raises(DeviceError, match="cuda"):
        pick_device("cuda")
    assert pick_device("cpu").type == "cpu"


def test_the_spelling_of_published_experiments_is_the_cpu():
    assert pick_device("cpus") == torch.device("cpu")


def test_interactive_model_comes_back_the_same(tmp_path):
    torch.manual_seed(0)
    options = {"device": "cpu", "enable_inst_interactivity": True}
    model = build_sam3_image_model(config=presets.SAM3_TINY, load_from_HF=False, **options)
    path = tmp_path / "model.safetensors"
    save_checkpoint(model, path)
    loaded = build_sam3_image_model(checkpoint_path=path, **options).state_dict()
    assert loaded.keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded[name], tensor), name
    without = build_sam3_image_model(checkpoint_path=path, device="cpu")
    assert without.inst_interactive_predictor is None


def test_interactivity_needs_the_weights_in_the_file(tiny, tmp_path):
    path = tmp_path / "model.safetensors"
    save_checkpoint(tiny, path)
    with pytest.raises(CheckpointMismatchError, match="missing.*sam2_convs"):
        build_sam3_image_model(checkpoint_path=path, device="cpu", enable_inst_interactivity=True)


def test_heads_of_other_versions():
    """SAM 3.1: heads without memory and without a sigmoid on the predicted IoU."""
    with torch.device("meta"):
        old = assemble_interactive_predictor(presets.SAM3_IMAGE)
        new = assemble_interactive_predictor(presets.SAM31_IMAGE)
    assert old.model.sam_mask_decoder.iou_prediction_use_sigmoid
    assert not new.model.sam_mask_decoder.iou_prediction_use_sigmoid
    assert len(new.state_dict()) == 157 and len(old.state_dict()) == 309
    assert new.state_dict().keys() < old.state_dict().keys()


def test_sizes_follow_the_image_model():
    """An image configuration without a tracker preset: heads that fit its features."""
    config = replace(presets.SAM3_TINY, name="my own")
    found = tracker_config_for(config)
    assert (found.image_size, found.grid, found.d_model) == (192, 16, 64)


def test_released_names_and_counts():
    with torch.device("meta"):
        model = assemble_image_model(presets.SAM3_IMAGE)
    state = model.state_dict()
    assert len(state) == 1134
    assert sum(p.numel() for p in model.parameters()) == 840_509_750


@pytest.mark.slow
def test_compiled_model_equals_eager(tiny):
    import copy

    expected = _outputs(tiny)
    model = copy.deepcopy(tiny)
    compile_image_model(model)
    out = _outputs(model)
    for key in ("pred_logits", "pred_boxes", "pred_masks"):
        torch.testing.assert_close(out[key], expected[key], atol=1e-4, rtol=1e-3)

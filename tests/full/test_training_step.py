"""One training step of the released-size model, as the fine-tuning on RF100-VL configures it.

Forward, losses and backward in float32 on the CPU, with activation checkpointing: minutes, and up
to 12 GB. Pictures have 336 pixels, one window of the trunk, instead of 1008: that changes tables of
positions, but no parameter. Run it with

    python -m pytest -m slow tests/full/test_training_step.py
"""

from __future__ import annotations

import math
import resource
from pathlib import Path

import pytest
import torch

from sam3.config import presets
from sam3.model_builder import assemble_image_model

pytest.importorskip("hydra", reason="hydra-core is not installed")
pytest.importorskip("pycocotools", reason="pycocotools is not installed")

from tests.support.training_step import (  # noqa: E402
    ALWAYS,
    RELEASED_SIZE,
    WITHOUT_MASKS,
    check_reach,
    fine_tuning,
    one_step,
)

pytestmark = pytest.mark.slow

GIB = 2**20  # of ru_maxrss, which counts KiB
SIDE = 336


def test_losses_reach_every_parameter_that_should_train(tmp_path: Path) -> None:
    size = {"_target_": "tests.support.training_step.released_size", "side": SIDE}
    config = fine_tuning(tmp_path, scratch__resolution=SIDE, trainer__model__config=size)
    config.roboflow_train.train_transforms[0].transforms[3].sizes.min_size = SIDE // 2
    model, losses = one_step(config)
    with torch.device("meta"):
        released = assemble_image_model(presets.SAM3_IMAGE, enable_segmentation=False)
    shapes = {name: p.shape for name, p in released.named_parameters()}
    assert {name: p.shape for name, p in model.named_parameters()} == shapes
    assert all(math.isfinite(value) for value in losses.values())
    layers = {"", *(f"_aux_{i}" for i in range(5))}
    for layer in layers:
        for name in ("loss_bbox", "loss_giou", "loss_ce", "presence_loss"):
            assert losses[name + layer] > 0, name + layer
        assert losses[f"loss_ce{layer}_o2m"] > 0, layer
    check_reach(model, (*ALWAYS, *WITHOUT_MASKS, *RELEASED_SIZE))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / GIB < 12

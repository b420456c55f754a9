"""One training step of the released-size model, as the fine-tuning on RF100-VL configures it.

Forward, losses and backward at 1008 pixels in float32 on the CPU, with activation checkpointing:
minutes, and up to 20 GB. Run it with

    python -m pytest -m slow tests/full/test_training_step.py
"""

from __future__ import annotations

import math
import resource
from pathlib import Path

import pytest

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


def test_losses_reach_every_parameter_that_should_train(tmp_path: Path) -> None:
    model, losses = one_step(fine_tuning(tmp_path))
    assert sum(p.numel() for p in model.parameters()) > 800e6
    assert all(math.isfinite(value) for value in losses.values())
    layers = {"", *(f"_aux_{i}" for i in range(5))}
    for layer in layers:
        for name in ("loss_bbox", "loss_giou", "loss_ce", "presence_loss"):
            assert losses[name + layer] > 0, name + layer
        assert losses[f"loss_ce{layer}_o2m"] > 0, layer
    check_reach(model, (*ALWAYS, *WITHOUT_MASKS, *RELEASED_SIZE))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / GIB < 20

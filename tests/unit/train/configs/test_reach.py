"""Which parameters the losses of a fine-tuning reach, at the size of the tiny model."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("hydra", reason="hydra-core is not installed")
pytest.importorskip("pycocotools", reason="pycocotools is not installed")

from sam3.train.utils.config_names import compose_config  # noqa: E402
from tests.support.experiments import SIDE  # noqa: E402
from tests.support.training_step import (  # noqa: E402
    ALWAYS,
    RELEASED_SIZE,
    WITH_MASKS,
    WITHOUT_MASKS,
    check_reach,
    fine_tuning,
    one_step,
)

ROOT = Path(__file__).resolve().parents[4]
TINY = {"_target_": "hydra.utils.get_object", "path": "sam3.config.presets.SAM3_TINY"}


@pytest.mark.parametrize("masks", [False, True])
def test_losses_reach_every_parameter_that_should_train(masks: bool, tmp_path: Path) -> None:
    config = fine_tuning(
        tmp_path,
        scratch__resolution=SIDE,
        scratch__enable_segmentation=masks,
        trainer__model__config=TINY,
    )
    config.roboflow_train.train_transforms[0].transforms[3].sizes.min_size = 64
    if masks:
        config.trainer.loss.all = compose_config(str(with_masks(tmp_path))).trainer.loss.all
    model, losses = one_step(config)
    assert ("loss_mask" in losses) is masks and ("loss_semantic_seg" in losses) is masks
    check_reach(model, (*ALWAYS, *(WITH_MASKS if masks else WITHOUT_MASKS)))


def with_masks(folder: Path) -> Path:
    """A file as a user would write it, which adds losses of masks to the experiment."""
    own = folder / "masks.yaml"
    own.write_text(
        "# @package _global_\n"
        "defaults:\n"
        "  - /configs/roboflow_v100/roboflow_v100_full_ft_100_images\n"
        "  - /config_parts/mask_loss@roboflow_train\n"
        "  - _self_\n"
        "scratch:\n"
        "  enable_segmentation: true\n"
    )
    return own


def test_the_reasons_are_written_down() -> None:
    text = (ROOT / "docs/training.md").read_text()
    section = text.split("## Which parameters train")[1].split("\n## ")[0]
    listed = {line.split("`")[1] for line in section.splitlines() if line.startswith("| `")}
    assert listed == {*ALWAYS, *WITHOUT_MASKS, *WITH_MASKS, *RELEASED_SIZE}

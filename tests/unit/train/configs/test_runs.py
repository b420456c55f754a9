"""The trainer of an experiment of each family runs to its results, with the tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

hydra = pytest.importorskip("hydra.utils", reason="hydra-core is not installed")
pytest.importorskip("fvcore", reason="fvcore is not installed")
pytest.importorskip("pycocotools", reason="pycocotools is not installed")

from omegaconf import OmegaConf  # noqa: E402

from sam3.errors import InputError  # noqa: E402
from sam3.train.loop.building import own_errors  # noqa: E402
from sam3.train.train import main  # noqa: E402
from tests.support.experiment_facts import (  # noqa: E402
    BASE,
    FINE_TUNING,
    ODINW_TRAIN,
    ROBOFLOW_EVAL,
    VIDEO,
    gold,
    odinw,
    silver,
)
from tests.support.experiments import SIDE, with_data  # noqa: E402


def trainer_of(name: str, folder: Path, **changes: Any) -> Any:
    """The trainer on the CPU, with the tiny model and small sets."""
    config = with_data(
        name,
        folder,
        scratch__resolution=SIDE,
        scratch__num_val_workers=0,
        trainer__accelerator="cpu",
        trainer__distributed__backend="gloo",
        trainer__model__load_from_HF=False,
        trainer__model__device="cpu",
        **changes,
    )
    video = config.trainer.model._target_.endswith("video_model")
    OmegaConf.set_struct(config, False)
    config.trainer.model.config = {
        "_target_": "hydra.utils.get_object",
        "path": f"sam3.config.presets.SAM3_TINY{'_VIDEO' if video else ''}",
    }
    for transforms in (config.get(f"{part}_train") for part in ("odinw", "roboflow")):
        if transforms is not None:
            transforms.train_transforms[0].transforms[3].sizes.min_size = 64
    with own_errors():
        return hydra.instantiate(config.trainer, _recursive_=False)


def last_line(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text().splitlines()[-1])


EVALUATIONS = [
    (gold("crowded"), "dumps/gold_crowded", "cgF1_eval_segm_cgF1"),
    (silver("geode"), "dumps/silver_geode", "cgF1_eval_bbox_cgF1"),
    (odinw("odinw_visual_only"), "dumps/roboflow/AerialMaritimeDrone_large", "coco_eval_bbox_AP"),
    (ROBOFLOW_EVAL, "dumps/roboflow/-grccs", "coco_eval_bbox_AP"),
]


@pytest.mark.parametrize(("name", "dumps", "metric"), EVALUATIONS)
def test_evaluation(name: str, dumps: str, metric: str, tmp_path: Path) -> None:
    trainer = trainer_of(name, tmp_path)
    assert trainer.run()
    [predictions] = (tmp_path / "logs" / dumps).glob("coco_predictions_*.json")
    assert isinstance(json.loads(predictions.read_text()), list)
    [stats] = (tmp_path / "logs").rglob("val_stats.json")
    [found] = [value for key, value in last_line(stats).items() if key.endswith(metric)]
    assert -1 <= found <= 1


def test_evaluation_of_videos(tmp_path: Path) -> None:
    assert trainer_of(VIDEO[1], tmp_path).run()
    [predictions] = (tmp_path / "logs/preds").glob("*.json")
    assert predictions.name == "saco_veval_sav_val.json"
    assert all(row["video_id"] == 1 for row in json.loads(predictions.read_text()))


@pytest.mark.parametrize("name", [FINE_TUNING, ODINW_TRAIN])
def test_fine_tuning(name: str, tmp_path: Path) -> None:
    trainer = trainer_of(
        name,
        tmp_path,
        trainer__max_epochs=2,
        trainer__skip_saving_ckpts=False,
        scratch__num_train_workers=0,
        scratch__scheduler_warmup=1,
        scratch__scheduler_cooldown=1,
    )
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    assert trainer.run()
    moved = {name for name, p in trainer.model.named_parameters() if not p.equal(before[name])}
    for part in ("trunk", "language_backbone", "transformer.encoder", "transformer.decoder"):
        assert any(part in name for name in moved), part
    assert (tmp_path / "logs/checkpoints/checkpoint.pt").exists()
    [stats] = (tmp_path / "logs").rglob("train_stats.json")
    losses = {key: value for key, value in last_line(stats).items() if "core_loss" in key}
    assert losses and all(value > 0 for value in losses.values())
    [stats] = (tmp_path / "logs").rglob("val_stats.json")
    assert any(key.endswith("coco_eval_bbox_AP") for key in last_line(stats))


def test_the_base_says_that_it_has_no_data(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.val"):
        trainer_of(BASE, tmp_path)


def test_the_command_names_the_paths_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["-c", gold("crowded"), "--use-cluster", "0"]) == 2
    assert "paths.metaclip_img_path: <folder of the MetaCLIP pictures>" in caplog.text
    assert not list(tmp_path.iterdir())

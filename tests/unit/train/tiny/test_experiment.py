"""The tiny model through the trainer of the experiments: ``tiny/whole`` on a few scenes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("hydra")

from sam3.checkpoint import save_checkpoint  # noqa: E402
from sam3.config import presets  # noqa: E402
from sam3.model_builder import build_sam3_image_model  # noqa: E402
from sam3.train.tiny.experiment import TinyExperiment  # noqa: E402
from sam3.train.tiny.grow import coarse_config  # noqa: E402
from sam3.train.tiny.scene_data import SceneExamples  # noqa: E402
from sam3.train.train import main  # noqa: E402

SMALL = [
    "scratch.minutes=null",
    "scratch.epochs=1",
    "scratch.epoch_size=2",
    "scratch.images=1",
    "scratch.workers=0",
    "scratch.scenes=6",
    "trainer.accelerator=cpu",
    "trainer.logging.tensorboard_writer=null",
]
WHOLE = [
    "scratch.phrases=2",
    "trainer.data.val.dataset.size=1",
    "trainer.data.val.dataset.images=2",
    "trainer.data.val.dataset.scenes=4",
]


def examples(folder: Path, **changes: Any) -> SceneExamples:
    settings = {"images": 2, "phrases": 2, "seed": 1, "scenes": 6, **changes}
    return SceneExamples(str(folder), 3, **settings)


def test_a_batch_depends_on_seed_epoch_and_index_alone(tmp_path: Path) -> None:
    data, other = examples(tmp_path), examples(tmp_path)
    assert len(data) == 3 and not torch.equal(data[0].words, data[1].words)
    data.set_epoch(1)
    other.set_epoch(1)
    first = data[2]
    other[0]
    again = other[2]
    assert torch.equal(first.datapoint.img_batch, again.datapoint.img_batch)
    assert first.datapoint.find_text_batch == again.datapoint.find_text_batch
    assert len(data.image_ids(2)) == 2
    other.set_epoch(0)
    assert other[2].datapoint.find_text_batch != again.datapoint.find_text_batch


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Runs an experiment on a few scenes; gives its folder."""
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)

    def start(name: str, *changes: str) -> Path:
        folder = tmp_path / name
        own = [f"launcher.experiment_log_dir={folder}", f"paths.scenes={tmp_path}/scenes"]
        assert main(["-c", f"tiny/{name}", *own, *SMALL, *changes]) == 0
        return folder

    return start


def line(folder: Path, name: str) -> dict[str, Any]:
    (text,) = (folder / "logs" / f"{name}_stats.json").read_text().splitlines()
    return json.loads(text)


def weights(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / "checkpoint.pt", weights_only=True)


def exported(folder: Path) -> dict[str, torch.Tensor]:
    path = folder / "sam3_tiny.safetensors"
    return build_sam3_image_model(checkpoint_path=path, device="cpu").state_dict()


def test_trunk_alone_then_the_whole_model(run: Callable[..., Path]) -> None:
    trunk = run("trunk", "scratch.clips=2")
    assert 0 <= line(trunk, "train")["Losses/train_scenes_shape_accuracy"] <= 1
    average = weights(trunk)["ema"]["average"]
    assert {name.split(".")[0] for name in average} == {"model", "cell_head"}
    name = "backbone.vision_backbone.trunk.blocks.0.mlp.fc1.weight"
    torch.testing.assert_close(
        exported(trunk)[name], average[f"model.{name}"], rtol=1e-3, atol=1e-3
    )

    start = f"paths.start={trunk}/checkpoints/checkpoint.pt"
    begun = TinyExperiment(start.partition("=")[2]).state_dict()
    assert torch.equal(begun["cell_head.linear.weight"], average["cell_head.linear.weight"])
    whole = run("whole", start, *WHOLE)
    assert line(whole, "train")["Losses/train_scenes_core_loss"] > 0
    assert 0 <= line(whole, "val")["Meters/val_held_out/quick/mask_AP50"] <= 1
    name = "transformer.decoder.query_embed.weight"
    state = weights(whole)
    average = state["ema"]["average"][f"model.{name}"]
    torch.testing.assert_close(exported(whole)[name], average, rtol=1e-3, atol=1e-3)
    assert not torch.equal(average, state["model"][f"model.{name}"])


def test_a_frozen_trunk_stays(run: Callable[..., Path], tmp_path: Path) -> None:
    torch.manual_seed(0)
    coarse = coarse_config(presets.SAM3_TINY, 96)
    model = build_sam3_image_model(config=coarse, device="cpu", load_from_HF=False)
    start = save_checkpoint(model, tmp_path / "coarse.safetensors", config=coarse.to_dict())
    before = TinyExperiment(str(start)).model.state_dict()
    whole = run("whole", f"paths.start={start}", "scratch.freeze_trunk=true", *WHOLE)
    trunk = "backbone.vision_backbone.trunk."
    for name, tensor in exported(whole).items():
        if name.startswith(trunk):
            torch.testing.assert_close(tensor, before[name], rtol=1e-3, atol=1e-3)
    after = weights(whole)["model"]
    assert all(torch.equal(after[f"model.{n}"], t) for n, t in before.items() if trunk in n)
    name = "transformer.decoder.query_embed.weight"
    assert not torch.equal(after[f"model.{name}"], before[name])

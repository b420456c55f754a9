"""The tiny recipe: starting values, objective, and a short run of the real command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from sam3.layers.mlp import MLP
from sam3.model.detr.box_bias import log_offsets
from sam3.train.tiny.attributes import ANSWERS, CLASSES, CellTargets
from sam3.train.tiny.command import main
from sam3.train.tiny.initialise import grid_boxes, make_bias_local, sine_cosine_table
from sam3.train.tiny.objective import TinyBatch, TinyObjective, TinyOutputs
from sam3.train.tiny.recipe import TinyRecipe


@pytest.mark.parametrize("count", [1, 12, 16, 17, 20])
def test_grid_boxes_are_apart_and_inside(count: int) -> None:
    boxes = grid_boxes(count, 0.27)
    assert boxes.shape == (count, 4)
    assert (boxes[:, 2:] == 0.27).all()
    assert ((boxes[:, :2] > 0) & (boxes[:, :2] < 1)).all()
    distance = torch.cdist(boxes[:, :2], boxes[:, :2]) + torch.eye(count)
    assert distance.min() > 0.15
    torch.testing.assert_close(boxes[:, :2].mean(0)[1], torch.tensor(0.5), atol=0.06, rtol=0)


def test_bias_is_local_for_any_box() -> None:
    torch.manual_seed(0)
    mlp = MLP(2, 64, 4, 2)
    with torch.no_grad():
        make_bias_local(mlp, -8.0)
        edges = torch.tensor([[0.1, 0.3], [0.5, 0.75]])
        bias = mlp(log_offsets(edges, 20))
    places = torch.arange(20) / 20
    for row, (near, far) in enumerate(edges):
        inside = (places >= near) & (places <= far)
        away = (places < near - 0.15) | (places > far + 0.15)
        assert bias[row][inside].abs().max() < 1.0
        assert bias[row][away].max() < -3.0


def test_positions_tell_all_places_apart() -> None:
    table = sine_cosine_table(12, 128)
    assert table.shape == (144, 128)
    distance = torch.cdist(table, table) + 10 * torch.eye(144)
    assert distance.min() > 0.3
    # Row-major: neighbours in x differ only in the second half of the channels.
    assert torch.equal(table[0, :64], table[1, :64])
    assert torch.equal(table[0, 64:], table[12, 64:])


@pytest.mark.parametrize(("scale", "penalty"), [(0.5, 0.0), (2.0, 0.05 * 3.0)])
def test_memory_penalty(scale: float, penalty: float) -> None:
    class NoLoss(nn.Module):
        def forward(self, outputs: object, targets: object) -> dict[str, torch.Tensor]:
            return {"core_loss": torch.zeros(())}

    class Datapoint:
        find_targets: tuple = ()

    stages = [[{"encoder_hidden_states": torch.full((4, 2, 8), scale)}]]
    cells = tuple(torch.zeros(1, n, 2, 2) for n in ANSWERS)
    outputs = TinyOutputs(stages, cells, tuple(torch.zeros(1, n) for n in CLASSES))
    words = torch.ones(1, 3).long()
    one = torch.ones(1, 2, 2)
    targets = CellTargets(torch.ones(1, 3, 2, 2).long(), one, one.byte())
    batch = TinyBatch(Datapoint(), targets, words)  # type: ignore[arg-type]
    recipe = TinyRecipe(cell_weight=0.0, word_weight=0.0)
    losses = TinyObjective(NoLoss(), recipe)(outputs, batch)
    assert float(losses["core_loss"]) == pytest.approx(penalty)
    assert float(losses["memory_energy"]) == pytest.approx(scale**2)


@pytest.mark.slow
def test_command_trains_resumes_and_exports(tmp_path: Path) -> None:
    options = ["--out", str(tmp_path), "--scenes", "24", "--images", "2", "--checkpoint-minutes"]
    assert main([*options, "0", "--steps", "3"]) == 0
    assert main([*options, "0", "--steps", "5", "--resume"]) == 0
    assert all((tmp_path / stage / "latest.pt").exists() for stage in ("text", "trunk", "coarse"))
    exported = tmp_path / "sam3_tiny.safetensors"
    assert 1e6 < exported.stat().st_size <= 10e6
    evaluations = [
        line["evaluation"]
        for line in map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
        if "evaluation" in line
    ]
    assert len(evaluations) == 2 and 0 <= evaluations[-1]["presence_accuracy"] <= 1

    from sam3.model_builder import build_sam3_image_model

    model = build_sam3_image_model(checkpoint_path=exported, device="cpu")
    assert model.config.name == "sam3-tiny"
    more = tmp_path / "more"
    options[1] = str(more)
    options += ["0", "--steps", "1", "--start", str(exported)]
    assert main([*options, "--trunk-share", "0", "--text-share", "0"]) == 0
    assert not any((more / stage).exists() for stage in ("text", "trunk", "coarse"))
    start = load_file(exported)["transformer.decoder.query_embed.weight"].float()
    moved = load_file(more / exported.name)["transformer.decoder.query_embed.weight"].float()
    assert 0 < (moved - start).abs().max() < 0.01


def test_command_reports_errors(tmp_path: Path) -> None:
    assert main(["--out", str(tmp_path), "--steps", "0"]) == 2
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path), "--steps", "5", "--minutes", "5"])

"""The trainer with the image model and pictures from files: two processes, COCO AP."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sam3.eval.coco_eval_offline import CocoEvaluatorOfflineWithPredFileEvaluators
from sam3.eval.coco_writer import PredictionDumper
from sam3.eval.postprocessors import PostProcessImage
from sam3.model.data_misc import BatchedDatapoint
from sam3.model.training_targets import back_convert
from sam3.train.loss.sam3_loss import DummyLoss
from tests.support.datasets import coco_annotations
from tests.support.tiny_training import (
    GLOBAL_BATCH,
    STEPS,
    coco_batches,
    one_of_several,
    tiny_trainer,
)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_two_processes_equal_one_with_the_same_batch(tmp_path: Path) -> None:
    """Weights after five steps to 1e-5, while the steps move them far more than that."""
    pictures = tmp_path / "pictures"
    alone = tiny_trainer(tmp_path / "one", pictures, GLOBAL_BATCH)
    start = {n: p.detach().clone() for n, p in alone.model.named_parameters()}
    alone.run()
    assert alone.position.steps["train"] == STEPS
    torch.multiprocessing.start_processes(
        one_of_several,
        args=(2, free_port(), tmp_path / "two", pictures),
        nprocs=2,
        start_method="spawn",
    )
    state = torch.load(tmp_path / "two" / "checkpoints" / "checkpoint.pt", weights_only=True)
    assert state["steps"]["train"] == STEPS
    moved = 0.0
    for name, parameter in alone.model.named_parameters():
        value = parameter.detach()
        torch.testing.assert_close(state["model"][name], value, rtol=0, atol=1e-5)
        moved = max(moved, float((value - start[name]).abs().max()))
    assert moved > 1e-3


class TruthModel(nn.Module):
    """Answers with a batch's own targets, moved by ``shift`` of the picture."""

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(shift))
        self.back_convert = back_convert

    def forward(self, batch: BatchedDatapoint) -> list[list[dict[str, Tensor]]]:
        target = batch.find_targets[0]
        counts = target.num_boxes.tolist()
        logits = torch.full((len(counts), 3, 1), -9.0)
        boxes = torch.full((len(counts), 3, 4), 0.5)
        for row, own in enumerate(target.boxes.view(-1, 4).split(counts)):
            logits[row, : len(own)] = 9.0
            boxes[row, : len(own)] = own + self.shift
        presence = torch.full((len(counts), 1), 9.0)
        return [[{"pred_logits": logits, "pred_boxes": boxes, "presence_logit_dec": presence}]]


@pytest.mark.parametrize(("shift", "low", "high"), [(0.0, 0.999, 1.001), (0.3, -0.01, 0.3)])
def test_validation_gives_coco_average_precision(
    tmp_path: Path, shift: float, low: float, high: float
) -> None:
    source = tmp_path / "annotations.json"
    source.write_text(json.dumps(coco_annotations(STEPS * GLOBAL_BATCH)))
    data = coco_batches(tmp_path / "pictures", 2, training=False, key="found")
    meter = PredictionDumper(
        tmp_path / "dumps",
        PostProcessImage(use_original_ids=True, use_original_sizes_box=True, use_presence=True),
        merge_predictions=True,
        pred_file_evaluators=[CocoEvaluatorOfflineWithPredFileEvaluators(str(source))],
    )
    settings: dict[str, Any] = {
        "mode": "val",
        "data": {"val": data},
        "model": TruthModel(shift),
        "loss": {"default": DummyLoss()},
        "meters": {"val": {"fou*": {"detection": meter}}},
    }
    trainer = tiny_trainer(tmp_path, tmp_path / "pictures", 2, **settings)
    trainer.run()
    (line,) = (tmp_path / "logs" / "val_stats.json").read_text().splitlines()
    metrics = json.loads(line)
    assert low <= metrics["Meters/val_fou*/detection/coco_eval_bbox_AP"] <= high
    assert metrics["Losses/val_found_core_loss"] == 0

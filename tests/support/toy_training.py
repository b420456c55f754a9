"""A toy run of the trainer: a linear model on drawn numbers, with the shapes of real batches."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sam3.train.data.torch_dataset import TorchDataset
from sam3.train.optim.optimizer import GradientClipper
from sam3.train.optim.schedulers import WarmupHoldCosine
from sam3.train.trainer import Trainer

WEIGHT = torch.tensor([[1.0, -2.0, 0.5]])
SAMPLES = 24


@dataclass
class ToyBatch:
    """inputs [B, 3]; find_targets: one stage of targets [B, 1]."""

    inputs: Tensor
    find_targets: list[Tensor]


class ToySamples(torch.utils.data.Dataset):
    """Sample ``index`` is three random inputs and a noise; that of ``bad`` is not a number."""

    def __init__(self, bad: int | None = None, size: int = SAMPLES) -> None:
        self.bad = bad
        self.size = size

    def __len__(self) -> int:
        return self.size

    def image_ids(self, index: int) -> list[int]:
        return [1000 + index]

    def __getitem__(self, index: int) -> Tensor:
        x = torch.randn(4)
        return x * float("nan") if index == self.bad else x


class Collate:
    """Samples -> ``{key: ToyBatch}``, or a list of ``chunks`` of them."""

    def __init__(self, key: str = "toy", chunks: int = 1) -> None:
        self.key = key
        self.chunks = chunks

    def __call__(self, samples: list[Tensor]) -> Any:
        made = [self._one(samples[c :: self.chunks]) for c in range(self.chunks)]
        return made if self.chunks > 1 else made[0]

    def _one(self, samples: list[Tensor]) -> dict[str, ToyBatch]:
        x, noise = torch.stack(samples).split([3, 1], dim=1)
        return {self.key: ToyBatch(x, [x @ WEIGHT.T + 0.1 * noise])}


class ToyModel(nn.Module):
    """Draws a random number of its own in every pass, like dropout."""

    def __init__(self, drop: float = 0.2) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 1)
        self.drop = nn.Dropout(drop)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, batch: ToyBatch) -> list[Tensor]:
        return [self.scale * self.linear(self.drop(batch.inputs))]

    @staticmethod
    def back_convert(target: Tensor) -> Tensor:
        return target


class ToyLoss(nn.Module):
    """Squared error, the sum over samples divided by ``count``."""

    def __init__(self, count: float = 4.0) -> None:
        super().__init__()
        self.count = count

    def forward(self, stages: list[Tensor], targets: list[Tensor]) -> dict[str, Tensor]:
        error = ((stages[0] - targets[0]) ** 2).sum() / self.count
        return {"core_loss": error, "half": error.detach() / 2}


class ToyMeter:
    """Mean error; smaller is better."""

    def __init__(self) -> None:
        self.reset()

    def update(self, *, find_stages: Any, batch: ToyBatch, **rest: Any) -> None:
        self.errors += (find_stages[0] - batch.find_targets[0]).abs().flatten().tolist()

    def compute_synced(self) -> dict[str, float]:
        return {"error": sum(self.errors) / len(self.errors)}

    def reset(self) -> None:
        self.errors: list[float] = []

    @staticmethod
    def is_better(name: str, new: float, old: float) -> bool:
        return new < old


class SlowDown:
    """Takes its time before every update, so that a kill finds the run at work."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, model: nn.Module, step: int, where: float) -> None:
        time.sleep(self.seconds)


def toy_data(
    batch: int = 4, workers: int = 0, chunks: int = 1, bad: int | None = None, val: bool = True
) -> dict[str, TorchDataset]:
    def one(shuffle: bool, chunks: int, bad: int | None) -> TorchDataset:
        return TorchDataset(
            ToySamples(bad), batch, workers, shuffle, False, True, Collate("toy", chunks), seed=3
        )

    train = {"train": one(True, chunks, bad)}
    return {**train, "val": one(False, 1, None)} if val else train


def toy_trainer(folder: Path, **changes: Any) -> Trainer:
    """A trainer in ``folder``; ``changes`` replace arguments, mappings are merged."""
    torch.manual_seed(5)
    settings: dict[str, Any] = {
        "data": changes.pop("data", None) or toy_data(),
        "model": changes.pop("model", None) or ToyModel(),
        "logging": {"log_dir": str(folder / "logs"), "log_freq": 2, "log_scalar_frequency": 1},
        "checkpoint": {"save_dir": str(folder / "checkpoints"), "save_freq": 0},
        "max_epochs": 3,
        "accelerator": "cpu",
        "optim": {
            "optimizer": torch.optim.AdamW,
            "options": {
                "lr": [{"scheduler": WarmupHoldCosine(base_lr=0.05, warmup_steps=3, hold=0.3)}]
            },
            "gradient_clip": GradientClipper(max_norm=1.0),
            "ema_decay": 0.9,
        },
        "loss": {"default": ToyLoss()},
        "meters": {"val": {"toy": {"error": ToyMeter()}}},
    }
    for name, value in changes.items():
        merged = isinstance(value, dict) and isinstance(settings.get(name), dict)
        settings[name] = {**settings[name], **value} if merged else value
    return Trainer(**settings)


def weights(trainer: Trainer) -> list[Tensor]:
    """Weights, their averages and the optimiser's state of a trainer."""
    parts = trainer.parts
    assert parts.optim is not None
    found = [p.detach().clone() for p in trainer.model.parameters()]
    if parts.ema is not None:
        found += [t.clone() for t in parts.ema.state_dict()["average"].values()]
    for state in parts.optim.optimizer.state_dict()["state"].values():
        found += [v.clone() for v in state.values() if isinstance(v, Tensor)]
    return found


class StopNow:
    """Asks the run, by a signal, to stop after the step."""

    def __call__(self, model: nn.Module, step: int, where: float) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

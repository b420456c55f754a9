"""Runs of the trainer on a toy model: learning, logs, resuming, accumulation, failures."""

from __future__ import annotations

import copy
import json
import os
import signal
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sam3.errors import CheckpointFormatError, CheckpointMismatchError, InputError
from sam3.train.loop.position import RunTime
from sam3.train.trainer import Trainer
from tests.support.toy_training import ToyLoss, ToyModel, toy_data, toy_trainer, weights


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    path = folder / "logs" / f"{name}_stats.json"
    return [json.loads(line) for line in path.read_text().splitlines()]


def assert_same(left: Trainer, right: Trainer) -> None:
    for a, b in zip(weights(left), weights(right), strict=True):
        assert torch.equal(a, b)


class StopAt:
    """Sends a signal to this process before the update of one step."""

    def __init__(self, step: int, number: int = signal.SIGTERM) -> None:
        self.step = step
        self.number = number

    def __call__(self, model: nn.Module, step: int, where: float) -> None:
        if step == self.step:
            os.kill(os.getpid(), self.number)


def test_learns_and_writes_its_statistics(tmp_path: Path) -> None:
    trainer = toy_trainer(tmp_path, max_epochs=6)
    assert trainer.run() is True
    train, val = lines(tmp_path, "train"), lines(tmp_path, "val")
    assert [line["Trainer/epoch"] for line in train] == list(range(6))
    assert [line["step"] for line in train] == [6, 12, 18, 24, 30, 36]
    assert [line["Trainer/epoch"] for line in val] == list(range(6))
    assert val[-1]["Losses/val_toy_core_loss"] < val[0]["Losses/val_toy_core_loss"] / 2
    best = lines(tmp_path, "best")[-1]["Meters/val_toy/error/error"]
    assert best == min(line["Meters/val_toy/error/error"] for line in val)
    text = (tmp_path / "logs" / "log.txt").read_text()
    assert "epoch 5 [6/6]" in text and "ToyModel: 5 parameters" in text


def test_checkpoints_have_the_published_layout(tmp_path: Path) -> None:
    checkpoint = {"save_freq": 2, "save_list": [1]}
    amp = {"amp": {"enabled": True, "amp_dtype": "bfloat16"}}
    trainer = toy_trainer(tmp_path, checkpoint=checkpoint, optim=amp)
    trainer.run()
    folder = tmp_path / "checkpoints"
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "checkpoint.pt",
        "checkpoint_previous.pt",
        "checkpoint_1.pt",
        "checkpoint_2.pt",
    }
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    assert state["epoch"] == 3 and state["steps"] == {"train": 18, "val": 12}
    assert set(state["model"]) == set(trainer.model.state_dict())
    for key in ("optimizer", "loss", "time_elapsed", "best_meter_values", "scaler", "ema"):
        assert key in state
    assert torch.load(folder / "checkpoint_2.pt", weights_only=True)["epoch"] == 2


def test_validation_is_left_out_where_it_is_not_due(tmp_path: Path) -> None:
    toy_trainer(tmp_path, max_epochs=5, val_epoch_freq=2, skip_first_val=True).run()
    assert [line["Trainer/epoch"] for line in lines(tmp_path, "val")] == [2, 4]


def test_validation_alone(tmp_path: Path) -> None:
    toy_trainer(tmp_path, mode="train_only").run()
    assert not (tmp_path / "logs" / "val_stats.json").exists()
    trainer = toy_trainer(tmp_path, mode="val", data={"val": toy_data()["val"]}, optim={})
    trainer.run()
    assert trainer.position.epoch == 3
    assert len(lines(tmp_path, "val")) == 1


def test_nothing_is_saved_when_told_so(tmp_path: Path) -> None:
    toy_trainer(
        tmp_path, skip_saving_ckpts=True, checkpoint={"save_best_meters": ["*error*"]}
    ).run()
    assert not (tmp_path / "checkpoints").exists()


def test_the_best_value_of_a_meter_is_saved(tmp_path: Path) -> None:
    trainer = toy_trainer(tmp_path, checkpoint={"save_best_meters": ["*/error"]}, max_epochs=5)
    trainer.run()
    (path,) = (tmp_path / "checkpoints").glob("checkpoint_best_*")
    state = torch.load(path, weights_only=True)
    errors = [line["Meters/val_toy/error/error"] for line in lines(tmp_path, "val")]
    assert state["epoch"] == errors.index(min(errors)) + 1


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("step", [8, 11])  # within an epoch, and its last step
def test_a_stopped_run_goes_on_to_the_same_numbers(tmp_path: Path, workers: int, step: int) -> None:
    whole = toy_trainer(tmp_path / "whole", data=toy_data(workers=workers))
    assert whole.run() is True
    stopped = toy_trainer(
        tmp_path / "cut", data=toy_data(workers=workers), optim={"gradient_logger": StopAt(step)}
    )
    assert stopped.run() is False
    resumed = toy_trainer(tmp_path / "cut", data=toy_data(workers=workers))
    assert resumed.position.steps["train"] == step + 1
    assert resumed.run() is True
    assert_same(whole, resumed)
    for name in ("train", "val", "best"):
        assert lines(tmp_path / "whole", name) == lines(tmp_path / "cut", name)


def test_a_run_that_is_complete_changes_nothing(tmp_path: Path) -> None:
    first = toy_trainer(tmp_path)
    first.run()
    again = toy_trainer(tmp_path)
    again.run()
    assert_same(first, again)
    assert [line["Trainer/epoch"] for line in lines(tmp_path, "val")] == [0, 1, 2]


def test_a_loader_that_cannot_skip_is_read_and_dropped(tmp_path: Path) -> None:
    class Plain:
        def __init__(self) -> None:
            self.data = toy_data()["train"]

        def get_loader(self, epoch: int) -> Any:
            return self.data.get_loader(epoch)

    data = {"train": Plain(), "val": toy_data()["val"]}
    whole = toy_trainer(tmp_path / "whole", data=data)
    whole.run()
    toy_trainer(tmp_path / "cut", data=data, optim={"gradient_logger": StopAt(8)}).run()
    resumed = toy_trainer(tmp_path / "cut", data=data)
    resumed.run()
    assert_same(whole, resumed)


def test_accumulated_chunks_equal_one_batch(tmp_path: Path) -> None:
    model = ToyModel(drop=0.0)
    one = toy_trainer(tmp_path / "one", model=copy.deepcopy(model), data=toy_data())
    one.run()
    two = toy_trainer(
        tmp_path / "two", model=model, data=toy_data(chunks=2), gradient_accumulation_steps=2
    )
    two.run()
    for a, b in zip(weights(one), weights(two), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_a_batch_must_have_as_many_chunks_as_steps_take(tmp_path: Path) -> None:
    trainer = toy_trainer(tmp_path, gradient_accumulation_steps=2)
    with pytest.raises(InputError, match="list of as many batches"):
        trainer.run()


def test_a_loss_that_is_no_number_names_samples_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    toy_trainer(tmp_path, max_epochs=1, mode="train_only").run()
    before = (tmp_path / "checkpoints" / "checkpoint.pt").read_bytes()
    trainer = toy_trainer(tmp_path, data=toy_data(bad=7), max_epochs=2)
    with pytest.raises(FloatingPointError, match=r"samples \[.*7.*image ids \[.*1007.*half") as e:
        trainer.run()
    assert "epoch 1" in str(e.value)
    assert (tmp_path / "checkpoints" / "checkpoint.pt").read_bytes() == before
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())


def test_a_gradient_that_is_no_number_ends_the_run_before_the_update(tmp_path: Path) -> None:
    def clip(model: nn.Module) -> torch.Tensor:
        return torch.tensor(float("inf"))

    trainer = toy_trainer(tmp_path, optim={"gradient_clip": clip})
    before = weights(trainer)
    with pytest.raises(FloatingPointError, match=r"gradient norm is inf at epoch 0, step 0, samp"):
        trainer.run()
    for a, b in zip(before, weights(trainer), strict=False):
        assert torch.equal(a, b)
    assert not (tmp_path / "checkpoints").exists()


def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = toy_trainer(tmp_path)
    first.run()
    newest = tmp_path / "checkpoints" / "checkpoint.pt"
    newest.write_bytes(newest.read_bytes()[:-500])
    again = toy_trainer(tmp_path)
    assert again.position.epoch == 2
    assert "cannot be read" in caplog.text
    again.run()
    assert_same(first, again)
    for path in (newest, newest.with_name("checkpoint_previous.pt")):
        path.write_bytes(b"")
    with pytest.raises(CheckpointFormatError, match="no readable checkpoint"):
        toy_trainer(tmp_path)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    toy_trainer(tmp_path, max_epochs=1).run()
    model = ToyModel()
    model.extra = nn.Linear(2, 2)
    with pytest.raises(CheckpointMismatchError, match="missing .*extra"):
        toy_trainer(tmp_path, model=model)


def test_a_run_can_start_from_a_checkpoint_elsewhere(tmp_path: Path) -> None:
    first = toy_trainer(tmp_path / "a", max_epochs=2)
    first.run()
    path = tmp_path / "a" / "checkpoints" / "checkpoint.pt"
    second = toy_trainer(tmp_path / "b", checkpoint={"resume_from": str(path)})
    assert second.position.epoch == 2
    assert_same(first, second)
    with pytest.raises(InputError, match="there is no file"):
        toy_trainer(tmp_path / "c", checkpoint={"resume_from": str(tmp_path / "none.pt")})


def test_the_initialiser_sets_the_first_weights_only(tmp_path: Path) -> None:
    def ones(model: nn.Module) -> nn.Module:
        nn.init.ones_(model.linear.weight)
        return model

    trainer = toy_trainer(tmp_path, checkpoint={"model_weight_initializer": ones}, max_epochs=1)
    assert torch.equal(trainer.model.linear.weight, torch.ones(1, 3))
    trainer.run()
    again = toy_trainer(tmp_path, checkpoint={"model_weight_initializer": ones}, max_epochs=1)
    assert_same(trainer, again)


def test_the_end_may_come_by_time(tmp_path: Path) -> None:
    trainer = toy_trainer(tmp_path, max_epochs=100_000, max_minutes=0.5 / 60)
    looks = count()
    trainer.pace.time = RunTime(lambda: next(looks) / 200)  # 5 ms from one look to the next
    assert trainer.run() is True
    assert 0 < trainer.position.epoch < 50
    lr = trainer.parts.optim.optimizer.param_groups[0]["lr"]
    assert lr < 0.01  # the schedule came to its end, too


def test_hooks_are_called_at_the_end(tmp_path: Path) -> None:
    class Note:
        seen: list[Trainer] = []

        def on_training_end(self, trainer: Trainer) -> None:
            self.seen.append(trainer)

    trainer = toy_trainer(tmp_path, hooks=[Note()], max_epochs=1)
    trainer.run()
    assert Note.seen == [trainer]


def test_losses_are_chosen_by_key(tmp_path: Path) -> None:
    losses = {"toy": ToyLoss(8.0), "default": ToyLoss(1.0)}
    trainer = toy_trainer(tmp_path, loss=losses, max_epochs=1)
    assert trainer.forward._loss_of("toy") is trainer.parts.losses["toy"]
    assert trainer.forward._loss_of("other") is trainer.parts.losses["default"]
    with pytest.raises(InputError, match="loss.all"):
        trainer.forward._loss_of("all")


def test_curves_are_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from sam3.train.utils.logger import make_tensorboard_logger

    writer = make_tensorboard_logger(str(tmp_path / "curves"))
    toy_trainer(tmp_path, logging={"tensorboard_writer": writer}).run()
    curves = EventAccumulator(str(tmp_path / "curves"), size_guidance={"scalars": 0}).Reload()
    names = curves.Tags()["scalars"] + curves.Tags()["tensors"]
    for name in ("Step_Losses/train_toy_core_loss", "Optim/0_/lr", "Trainer/where"):
        assert name in names

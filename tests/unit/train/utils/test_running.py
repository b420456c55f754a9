"""Meters, loggers and the care for parameters that checkpoints leave out."""

from __future__ import annotations

import builtins
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sam3.errors import CheckpointMismatchError, InputError
from sam3.train.utils.checkpoint_utils import (
    check_skipped_are_frozen,
    load_model_state,
    unchanged_parameters,
    without_matching,
)
from sam3.train.utils.logger import close_logging, make_tensorboard_logger, setup_logging
from sam3.train.utils.train_utils import (
    AverageMeter,
    DurationMeter,
    MemMeter,
    ProgressMeter,
    human_readable_time,
)


def test_a_line_shows_last_value_and_mean() -> None:
    loss, run = AverageMeter("loss", fmt=":.2f"), DurationMeter("run")
    loss.update(1.0)
    loss.update(3.0, n=3)
    run.add(3700.0)
    line = ProgressMeter(100, [loss, run], "epoch 2 ").line(7)
    assert line == "epoch 2 [  7/100] | loss: 3.00 (2.50) | run: 00d 01h 01m"
    loss.reset()
    assert (loss.val, loss.avg, loss.count) == (0.0, 0.0, 0)


def test_memory_is_nothing_without_a_gpu() -> None:
    meter = MemMeter("GB", torch.device("cpu"), ":.0f")
    meter.update()
    assert str(meter) == "GB: 0 (0)"


def test_times_are_readable() -> None:
    assert human_readable_time(2 * 86400 + 3 * 3600 + 4 * 60 + 59) == "02d 03h 04m"


def test_messages_reach_the_file_of_process_0_once(tmp_path: Path) -> None:
    log = logging.getLogger("sam3.train.somewhere")
    setup_logging(tmp_path)
    setup_logging(tmp_path)  # again: no second copy of a line
    log.info("a message")
    setup_logging(tmp_path / "other", rank=1)
    log.info("not from here")
    close_logging()
    assert (tmp_path / "log.txt").read_text().count("a message") == 1
    assert not (tmp_path / "other").exists()


def test_without_tensorboard_a_warning_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = builtins.__import__

    def blocked(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("torch.utils.tensorboard"):
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", blocked)
    logger = make_tensorboard_logger(str(tmp_path))
    logger.log_dict({"loss": 1.0}, step=0)
    logger.close()
    assert "pip install" in caplog.text and not list(tmp_path.iterdir())


def test_other_processes_write_no_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert make_tensorboard_logger(str(tmp_path)).writer is None
    monkeypatch.delenv("RANK")
    assert make_tensorboard_logger(str(tmp_path), should_log=False).writer is None


def two_layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))


def test_parameters_left_out_must_be_frozen_and_stay() -> None:
    model = two_layers()
    assert set(without_matching(model.state_dict(), ["0.*"])) == {"1.weight", "1.bias"}
    with pytest.raises(InputError, match="0.bias"):
        check_skipped_are_frozen(model, ["0.*"])
    model[0].requires_grad_(False)
    check_skipped_are_frozen(model, ["0.*"])
    with pytest.raises(InputError, match="0.weight"), unchanged_parameters(model, ["0.*"]):
        model[0].weight.data.add_(1)
    with unchanged_parameters(model, ["0.*"]):
        model[1].weight.data.add_(1)
    with unchanged_parameters(model, ["0.*"], disabled=True):
        model[0].weight.data.add_(1)


def test_weights_are_loaded_strictly_but_for_what_may_miss() -> None:
    model, state = two_layers(), two_layers().state_dict()
    load_model_state(model, without_matching(state, ["0.*"]), ["0.*"], "a file")
    assert torch.equal(model[1].weight, state["1.weight"])
    with pytest.raises(CheckpointMismatchError, match="missing .*0.bias"):
        load_model_state(model, without_matching(state, ["0.*"]), [], "a file")
    with pytest.raises(CheckpointMismatchError, match="another model"):
        load_model_state(model, {**state, "0.weight": torch.ones(3, 3)}, [], "a file")

"""Runs that are killed at random moments end with the numbers of a run that was left alone."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from sam3.train.trainer import Trainer
from tests.support.toy_training import SlowDown, toy_data, toy_trainer, weights


def make(folder: Path, workers: int, seconds: float) -> Trainer:
    return toy_trainer(
        folder,
        data=toy_data(workers=workers),
        checkpoint={"save_every_steps": 2, "save_freq": 1},
        optim={"gradient_logger": SlowDown(seconds)},
        max_epochs=4,
    )


def train(folder: Path, workers: int, ready: Any) -> None:
    torch.set_num_threads(1)
    trainer = make(folder, workers, 0.02)
    ready.set()
    trainer.run()


def kill_a_run(folder: Path, workers: int, seconds: float) -> int:
    """Start a run, kill it after so many seconds; its exit code."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "scipy.optimize"])
    ready = context.Event()
    process = context.Process(target=train, args=(folder, workers, ready))
    process.start()
    assert ready.wait(120)
    time.sleep(seconds)
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    assert process.exitcode is not None
    return process.exitcode


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    text = (folder / "logs" / f"{name}_stats.json").read_text()
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")
@pytest.mark.parametrize(
    ("kills", "workers"),
    [
        (3, 0),
        pytest.param(10, 0, marks=pytest.mark.slow),
        pytest.param(5, 2, marks=pytest.mark.slow),
    ],
)
def test_killed_runs_go_on_to_the_same_numbers(tmp_path: Path, kills: int, workers: int) -> None:
    whole = make(tmp_path / "whole", workers, 0.0)
    whole.run()
    moments = random.Random()
    folder = tmp_path / "killed"
    codes = [kill_a_run(folder, workers, moments.uniform(0, 0.4)) for _ in range(kills)]
    assert -signal.SIGKILL in codes
    last = make(folder, workers, 0.0)
    last.run()
    for a, b in zip(weights(whole), weights(last), strict=True):
        assert torch.equal(a, b)
    for name in ("train", "val", "best"):
        assert lines(folder, name) == lines(tmp_path / "whole", name)

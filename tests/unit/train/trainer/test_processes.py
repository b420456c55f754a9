"""Accumulation and compressed gradients in two processes, against one."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from sam3.train.trainer import Trainer
from tests.support.toy_training import ToyLoss, ToyModel, toy_data, toy_trainer

BATCH = 8


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def make(folder: Path, size: int, **changes: Any) -> Trainer:
    """Each of ``size`` processes has its part of the batch, and takes it in two chunks."""
    torch.manual_seed(1)
    batch = BATCH // size
    return toy_trainer(
        folder,
        model=ToyModel(drop=0.0),
        data=toy_data(batch=batch, chunks=2),
        loss={"toy": ToyLoss(batch)},
        gradient_accumulation_steps=2,
        **changes,
    )


def work(rank: int, size: int, port: int, folder: Path, distributed: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    make(folder, size, distributed=distributed).run()
    torch.distributed.destroy_process_group()


@pytest.mark.slow  # starts two processes
@pytest.mark.parametrize(("comms_dtype", "tolerance"), [(None, 1e-5), ("float16", 2e-2)])
def test_chunks_in_two_processes_equal_one(
    tmp_path: Path, comms_dtype: str | None, tolerance: float
) -> None:
    one = make(tmp_path / "one", 1)
    one.run()
    torch.multiprocessing.start_processes(
        work,
        args=(2, free_port(), tmp_path / "two", {"comms_dtype": comms_dtype}),
        nprocs=2,
        start_method="spawn",
    )
    state = torch.load(tmp_path / "two" / "checkpoints" / "checkpoint.pt", weights_only=True)
    average = state["ema"]["average"]
    for name, value in one.model.state_dict().items():
        torch.testing.assert_close(state["model"][name], value, rtol=0, atol=tolerance)
    assert one.parts.ema is not None
    for name, value in one.parts.ema.state_dict()["average"].items():
        torch.testing.assert_close(average[name], value, rtol=0, atol=tolerance)

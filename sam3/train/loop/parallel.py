"""Data-parallel training over processes: averaged gradients, one leader that decides.

The calling process is rank 0; it starts the others. Two processes with one thread each are faster
on two cores than one process with two threads.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

logger = logging.getLogger(__name__)


class ProcessGroup:
    """The processes of a run; with one process every operation is the identity."""

    def __init__(self) -> None:
        self.active = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if self.active else 0
        self.size = dist.get_world_size() if self.active else 1

    @property
    def is_leader(self) -> bool:
        """Whether this process writes files and decides."""
        return self.rank == 0

    def average_gradients(self, model: nn.Module, flag: bool) -> bool:
        """Average the gradients over the processes; a missing one counts as 0.

        Args:
            flag: a condition of this process that all must know.

        Returns:
            whether the flag is set on any process.
        """
        if not self.active:
            return flag
        parameters = [p for p in model.parameters() if p.requires_grad]
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        grads = [p.grad for p in parameters if p.grad is not None]
        head = torch.tensor([float(flag)], dtype=grads[0].dtype, device=grads[0].device)
        buffer = torch.cat([head, *(g.reshape(-1) for g in grads)])
        dist.all_reduce(buffer)
        pieces = (buffer[1:] / self.size).split([g.numel() for g in grads])
        torch._foreach_copy_(grads, [p.view_as(g) for p, g in zip(pieces, grads, strict=True)])
        return bool(buffer[0] != 0)

    def from_leader(self, values: list[float]) -> list[float]:
        """The leader's numbers, on every process."""
        if not self.active:
            return values
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.broadcast(tensor, 0)
        return tensor.tolist()

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of all processes, by rank."""
        if not self.active:
            return [tensor]
        everyone = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(everyone, tensor)
        return everyone

    def copy_from_leader(self, model: nn.Module) -> None:
        """Give every process the leader's parameters and buffers."""
        if self.active:
            for tensor in (*model.parameters(), *model.buffers()):
                if tensor.dtype != torch.complex64:  # fixed tables; gloo cannot send these
                    dist.broadcast(tensor.detach(), 0)


def _join(rank: int, size: int, store: str) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)


def _helper(rank: int, size: int, store: str, worker: Callable[..., Any], args: tuple) -> None:
    torch.set_num_threads(1)
    _join(rank, size, store)
    try:
        worker(*args)
    finally:
        dist.destroy_process_group()


@contextmanager
def _helpers(size: int, store: str, worker: Callable[..., Any], args: tuple) -> Iterator[None]:
    context = torch.multiprocessing.get_context("spawn")
    started = [
        context.Process(target=_helper, args=(rank, size, store, worker, args), daemon=True)
        for rank in range(1, size)
    ]
    try:
        for process in started:
            process.start()
        yield
        for process in started:
            process.join(60)
    finally:
        for process in started:
            if process.is_alive():
                process.terminate()
                process.join(10)


def run_parallel(worker: Callable[..., Any], size: int, *args: Any) -> Any:
    """Call ``worker(*args)`` in ``size`` processes joined by gloo on this machine.

    ``worker`` and ``args`` must be picklable. Returns what the call in this process, rank 0,
    returns; with ``size`` 1 it is a plain call. If a helper fails, the call here fails too.
    """
    if size <= 1:
        return worker(*args)
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder) / "store")
        with _helpers(size, store, worker, args):
            _join(0, size, store)
            try:
                return worker(*args)
            finally:
                dist.destroy_process_group()

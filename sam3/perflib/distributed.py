"""The few collective operations of the video model, with a twin for one process.

``Collective`` is one process alone: every operation returns what it got. ``GroupCollective`` runs
them over torch.distributed: tensors over the default group (NCCL or gloo), Python objects over a
gloo group. All processes must call the same operations in the same order.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
TIMEOUT_VARIABLE = "SAM3_COLLECTIVE_OP_TIMEOUT_SEC"
DEFAULT_TIMEOUT_SEC = 180


class Collective:
    """One process alone."""

    rank = 0
    world_size = 1

    def broadcast(self, make: Callable[[], T], src: int = 0) -> T:
        """What ``make`` returns in process ``src``, in every process; only ``src`` calls it.

        An exception of ``make`` is raised in every process.
        """
        return make()

    def gather_rows(self, local: Tensor, counts: Sequence[int]) -> Tensor:
        """Rows of all processes, one process after the other.

        local: [counts[rank], ...] contiguous float32. Returns [sum of counts, ...].
        """
        return local

    def start_gather(self, tensors: dict[str, Tensor]) -> Callable[[], list[dict[str, Tensor]]]:
        """Begin to collect tensors of equal shapes; calling the result waits: a dict a process."""
        return lambda: [tensors]

    def gather_objects(self, value: T) -> list[T] | None:
        """``value`` of every process, in the order of their ranks; None outside process 0."""
        return [value]

    def barrier(self) -> None:
        """Wait for all processes."""


class GroupCollective(Collective):
    """All processes of the default group of torch.distributed, which must be set up.

    Args:
        patience: how long Python objects may be waited for, in place of the usual time.
    """

    def __init__(self, patience: timedelta | None = None) -> None:
        import torch.distributed as dist

        self._dist = dist
        self.rank = dist.get_rank()
        self.world_size = dist.get_world_size()
        self._is_gloo = dist.get_backend() == "gloo"
        self._objects: Any = None
        if patience is not None or not self._is_gloo:
            self._objects = dist.new_group(backend="gloo", timeout=patience or timeout())

    def broadcast(self, make: Callable[[], T], src: int = 0) -> T:
        message: list[Any] = [None]
        if self.rank == src:
            try:
                message = [(True, make())]
            except Exception as error:  # the others must not wait for ever
                message = [(False, error)]
        self._dist.broadcast_object_list(message, src=src, group=self._objects)
        fine, value = message[0]
        if not fine:
            raise value
        return value

    def gather_rows(self, local: Tensor, counts: Sequence[int]) -> Tensor:
        if local.shape[0] != counts[self.rank]:
            raise RuntimeError(
                f"process {self.rank} has {local.shape[0]} rows where the plan says"
                f" {counts[self.rank]}: the processes no longer agree; restart them"
            )
        most = max(counts)
        if most == 0:
            return local
        padded = local.new_zeros((most, *local.shape[1:]))
        padded[: len(local)] = local
        parts = [torch.empty_like(padded) for _ in counts]
        self._dist.all_gather(parts, padded)
        return torch.cat([part[:n] for part, n in zip(parts, counts, strict=True)])

    def start_gather(self, tensors: dict[str, Tensor]) -> Callable[[], list[dict[str, Tensor]]]:
        names = list(tensors)
        sent = [self._wire(tensors[name].contiguous()) for name in names]
        parts = [[torch.empty_like(t) for _ in range(self.world_size)] for t in sent]
        works = [
            self._dist.all_gather(part, t, async_op=True)
            for part, t in zip(parts, sent, strict=True)
        ]

        def wait() -> list[dict[str, Tensor]]:
            for work in works:
                work.wait()
            return [
                {
                    name: part[rank].view(tensors[name].dtype)
                    for name, part in zip(names, parts, strict=True)
                }
                for rank in range(self.world_size)
            ]

        return wait

    def gather_objects(self, value: T) -> list[T] | None:
        parts: list[Any] | None = [None] * self.world_size if self.rank == 0 else None
        self._dist.gather_object(value, parts, dst=0, group=self._objects)
        return parts

    def barrier(self) -> None:
        self._dist.barrier()

    def _wire(self, tensor: Tensor) -> Tensor:
        """gloo knows no bfloat16: its bytes travel instead."""
        wide = self._is_gloo and tensor.dtype == torch.bfloat16
        return tensor.view(torch.uint8) if wide else tensor


def world_from_env() -> tuple[int, int]:
    """(rank, number of processes) from RANK and WORLD_SIZE; (0, 1) without them."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def collective_for(world_size: int) -> Collective:
    """The collective of this process: the group's if there is more than one process."""
    return GroupCollective() if world_size > 1 else Collective()


def timeout() -> timedelta:
    """How long a process waits for the others (``SAM3_COLLECTIVE_OP_TIMEOUT_SEC``, 180 s)."""
    return timedelta(seconds=int(os.environ.get(TIMEOUT_VARIABLE, DEFAULT_TIMEOUT_SEC)))


def device_of_rank(ordinal: int) -> torch.device:
    """CUDA device ``ordinal``, or the CPU where there is no CUDA."""
    return torch.device("cuda", ordinal) if torch.cuda.is_available() else torch.device("cpu")


def join_group(device: torch.device) -> None:
    """Set up the default group from the environment: NCCL on CUDA, gloo elsewhere.

    Waits until every process is there and one sum has gone around.
    """
    import torch.distributed as dist

    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timeout())
    dist.all_reduce(torch.ones(1, device=device))


def leave_group(*, destroy: bool = True) -> None:
    """Take down the default group, if there is one."""
    import torch.distributed as dist

    if destroy and dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()

"""The process a training runs in: device, switches, random numbers, other processes."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from ...errors import DeviceError, InputError
from ...perflib.distributed import Collective, GroupCollective
from .conf import CudaConf, DistributedConf

ACCELERATORS = ("auto", "cuda", "mps", "cpu")


def set_environment(variables: Mapping[str, Any] | None) -> None:
    """Set variables of the environment; they reach all that start later."""
    for name, value in (variables or {}).items():
        os.environ[str(name)] = str(value)


def pick_accelerator(accelerator: str) -> torch.device:
    """The device of this process; on CUDA that of its ``LOCAL_RANK``.

    Raises DeviceError where it is not there.
    """
    if accelerator not in ACCELERATORS:
        raise InputError(f"accelerator must be one of {list(ACCELERATORS)}, got {accelerator!r}")
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if accelerator == "auto":
        accelerator = next(name for name in ACCELERATORS[1:] if there[name])
    if not there[accelerator]:
        raise DeviceError(
            f"accelerator {accelerator!r} is not available here; use 'auto' or 'cpu' "
            "(trainer.accelerator=auto)"
        )
    if accelerator != "cuda":
        return torch.device(accelerator)
    device = torch.device(accelerator, int(os.environ.get("LOCAL_RANK", 0)))
    if device.index >= torch.cuda.device_count():
        raise DeviceError(
            f"process {device.index} of this machine finds {torch.cuda.device_count()} GPUs; "
            "start no more processes than there are GPUs (--num-gpus)"
        )
    torch.cuda.set_device(device)
    return device


def set_switches(conf: CudaConf) -> None:
    """Set the switches of cuDNN and TF32."""
    torch.backends.cudnn.deterministic = conf.cudnn_deterministic
    torch.backends.cudnn.benchmark = conf.cudnn_benchmark
    torch.backends.cuda.matmul.allow_tf32 = bool(conf.matmul_allow_tf32)
    torch.backends.cudnn.allow_tf32 = bool(conf.cudnn_allow_tf32)


def join_processes(conf: DistributedConf, device: torch.device) -> Collective:
    """Meet the other processes that the environment names (``RANK``, ``WORLD_SIZE``, ``MASTER_*``).

    One process alone needs no group. A group that is set up already is used.
    """
    size = int(os.environ.get("WORLD_SIZE", 1))
    if not dist.is_initialized():
        if size <= 1:
            return Collective()
        missing = [n for n in ("RANK", "MASTER_ADDR", "MASTER_PORT") if n not in os.environ]
        if missing:
            raise InputError(
                f"WORLD_SIZE is {size}, but {missing} are not set; start with "
                "python -m sam3.train.train, or with torchrun"
            )
        os.environ["TORCH_NCCL_ASYNC_ERROR_HANDLING"] = "1"
        dist.init_process_group(
            conf.backend or ("nccl" if device.type == "cuda" else "gloo"),
            timeout=timedelta(minutes=conf.timeout_mins),
        )
    if dist.get_world_size() == 1:
        return Collective()
    return GroupCollective(timedelta(minutes=conf.timeout_mins))


def seed_everything(seed_value: int, rank: int, max_epochs: int) -> None:
    """Seed python, numpy and torch, differently in every process."""
    seed = (seed_value + rank) * max_epochs % 2**32
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def random_states() -> dict[str, Any]:
    """States of all random generators of this process, in plain types and tensors."""
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    words_of_numpy = torch.from_numpy(np.asarray(keys).astype(np.int64))
    states: dict[str, Any] = {
        "python": [version, torch.tensor(words, dtype=torch.int64), gauss],
        "numpy": [kind, words_of_numpy, position, has_gauss, cached],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore_random_states(states: Mapping[str, Any]) -> None:
    """Go on with the generators as :func:`random_states` found them."""
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    kind, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(states["torch"].cpu())
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"].cpu())

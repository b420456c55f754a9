"""A training in one process, and in several processes of one machine."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import torch

from ...errors import MissingDependencyError
from ..loop.building import own_errors
from ..utils.resolvers import register_omegaconf_resolvers

if TYPE_CHECKING:
    from omegaconf import DictConfig


def run_trainer(cfg: DictConfig) -> bool:
    """Build ``cfg.trainer`` and run it in this process, as the environment says one of several.

    Returns whether the run is complete; False after a signal that asks to stop.
    """
    try:
        from hydra.utils import instantiate
    except ImportError as error:
        raise MissingDependencyError(
            'a training from a configuration needs Hydra: pip install "sam3-segment[train]" '
            "(or pip install hydra-core)"
        ) from error
    register_omegaconf_resolvers()
    try:
        with own_errors():
            trainer = instantiate(cfg.trainer, _recursive_=False)
        return bool(trainer.run())
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def single_proc_run(local_rank: int, main_port: int, cfg: DictConfig, world_size: int) -> bool:
    """Be process ``local_rank`` of ``world_size`` on this machine; as :func:`run_trainer`."""
    os.environ["MASTER_ADDR"] = "localhost"
    os.environ["MASTER_PORT"] = str(main_port)
    os.environ["RANK"] = os.environ["LOCAL_RANK"] = str(local_rank)
    os.environ["WORLD_SIZE"] = str(world_size)
    if sys.platform == "linux":  # else gloo looks up the machine's name, which may lead nowhere
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    return run_trainer(cfg)


def single_node_runner(cfg: DictConfig, main_port: int) -> bool:
    """Run on this machine: one process in place, ``launcher.gpus_per_node`` ones by spawn.

    Returns whether the run is complete, as far as this process knows.
    """
    count = int(cfg.launcher.gpus_per_node)
    if count == 1:
        return single_proc_run(0, main_port, cfg, 1)
    # The parts of PyTorch that have to be initialised anew do not survive a fork.
    torch.multiprocessing.start_processes(
        single_proc_run, args=(main_port, cfg, count), nprocs=count, start_method="spawn"
    )
    return True

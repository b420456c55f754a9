"""Who this process is among the processes of a run."""

from __future__ import annotations

import os

import torch.distributed as dist


def is_dist_avail_and_initialized() -> bool:
    """Whether this process has met others."""
    return dist.is_available() and dist.is_initialized()


def get_rank() -> int:
    """Number of this process: of the group, else as the environment says, else 0."""
    if is_dist_avail_and_initialized():
        return dist.get_rank()
    return int(os.environ.get("RANK", 0))


def get_world_size() -> int:
    """How many processes there are: of the group, else as the environment says, else 1."""
    if is_dist_avail_and_initialized():
        return dist.get_world_size()
    return int(os.environ.get("WORLD_SIZE", 1))


def is_main_process() -> bool:
    """Whether this process writes files."""
    return get_rank() == 0

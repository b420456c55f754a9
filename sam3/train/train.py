"""The command that runs an experiment: trains or evaluates as a configuration says.

    python -m sam3.train.train -c CONFIG [options] [key=value ...]

``CONFIG`` is the name of a configuration of the package (``tiny/whole``) or a YAML file of your
own; ``key=value`` changes single values, in Hydra's language. Here it runs in
``launcher.gpus_per_node`` processes, on a cluster as a Submitit job; under ``torchrun`` it is one
of the processes that started it.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, Sam3Error
from .launch.cluster import SubmititRunner, pick_port, submit, write_config
from .launch.processes import run_trainer, single_node_runner, single_proc_run
from .utils.config_names import compose_config
from .utils.placeholders import check_placeholders

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["SubmititRunner", "main", "parser", "prepare", "single_node_runner", "single_proc_run"]

_log = logging.getLogger(__name__)


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="python -m sam3.train.train",
        description="Train or evaluate as a configuration says.",
    )
    p.add_argument("-c", "--config", required=True, help="a configuration's name, or a YAML file")
    p.add_argument("--use-cluster", type=int, choices=(0, 1), help="0: this machine, 1: a cluster")
    p.add_argument("--partition", help="of the cluster")
    p.add_argument("--account", help="of the cluster")
    p.add_argument("--qos", help="quality of service of the cluster")
    p.add_argument("--num-gpus", type=int, help="processes on each machine")
    p.add_argument("--num-nodes", type=int, help="machines of the cluster")
    p.add_argument("overrides", nargs="*", metavar="key=value", help="values to change")
    return p


def prepare(options: argparse.Namespace) -> DictConfig:
    """The configuration of a run, with the options in place and its folder named.

    Raises InputError for a configuration without launcher or submitit, or with paths to be set.
    """
    from omegaconf import OmegaConf

    cfg = compose_config(options.config, options.overrides)
    for section in ("trainer", "launcher", "submitit"):
        if cfg.get(section) is None:
            raise InputError(f"the configuration {options.config} has no section {section!r}")
    chosen: dict[str, Any] = {
        "launcher.gpus_per_node": options.num_gpus,
        "launcher.num_nodes": options.num_nodes,
        "submitit.use_cluster": None if options.use_cluster is None else bool(options.use_cluster),
        "submitit.partition": options.partition,
        "submitit.account": options.account,
        "submitit.qos": options.qos,
    }
    if cfg.launcher.get("experiment_log_dir") is None:
        folder = Path.cwd() / "sam3_logs" / config_title(options.config)
        chosen["launcher.experiment_log_dir"] = str(folder)
    for key, value in chosen.items():
        if value is not None:
            OmegaConf.update(cfg, key, value, force_add=True)
    check_placeholders(cfg)
    return cfg


def config_title(name: str) -> str:
    """What a run of a configuration is called: its name below ``configs/``, or that of its file."""
    own = Path(name)
    if own.is_file():
        return own.stem
    return name.removeprefix("configs/").removesuffix(".yaml")


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line entry.

    Exit code 0 = done, or handed to the cluster, 3 = stopped early (the same command goes on),
    2 = error.
    """
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    options = parser().parse_intermixed_args(arguments)
    complete = True
    try:
        cfg = prepare(options)
        log_dir = Path(cfg.launcher.experiment_log_dir)
        if int(os.environ.get("RANK", 0)) == 0:
            write_config(cfg, log_dir)
        if cfg.submitit.get("use_cluster"):
            for job in submit(cfg, log_dir, config_title(options.config)):
                sys.stdout.write(f"{job.job_id}\n")
        elif "RANK" in os.environ and "WORLD_SIZE" in os.environ:  # torchrun's work
            complete = run_trainer(cfg)
        else:
            cfg.launcher.num_nodes = 1
            complete = single_node_runner(cfg, pick_port(cfg))
    except (Sam3Error, FloatingPointError) as error:
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        _log.error("%s", error)
        return 2
    return 0 if complete else 3


if __name__ == "__main__":
    raise SystemExit(main())

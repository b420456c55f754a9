"""A training on a cluster, through Submitit: one job, or an array of them."""

from __future__ import annotations

import logging
import os
import random
import traceback
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import InputError, MissingDependencyError
from .processes import run_trainer

if TYPE_CHECKING:
    from omegaconf import DictConfig

_log = logging.getLogger(__name__)


class SubmititRunner:
    """What runs in every task of a job; pickled, so it holds plain data only."""

    def __init__(self, port: int, cfg: DictConfig) -> None:
        self.port = port
        self.cfg = cfg

    def __call__(self) -> None:
        """Take the place that the cluster gives this task, and train."""
        import submitit

        place = submitit.JobEnvironment()
        os.environ["MASTER_ADDR"] = place.hostnames[0]
        os.environ["MASTER_PORT"] = str(self.port)
        os.environ["RANK"] = str(place.global_rank)
        os.environ["LOCAL_RANK"] = str(place.local_rank)
        os.environ["WORLD_SIZE"] = str(place.num_tasks)
        try:
            run_trainer(self.cfg)
        except Exception:
            _log.error("process %d failed:\n%s", place.global_rank, traceback.format_exc())
            raise

    def checkpoint(self) -> Any:
        """What goes on after a preemption: the same run, which finds its own checkpoint."""
        import submitit

        return submitit.helpers.DelayedSubmission(SubmititRunner(self.port, self.cfg))


def submit(cfg: DictConfig, log_dir: Path, name: str) -> list[Any]:
    """Hand the training to Submitit; returns its jobs.

    With ``submitit.job_array.num_tasks`` there is one job for each index, whose configuration has
    it as ``submitit.job_array.task_index``; they are written to ``job_array_configs``.

    Args:
        log_dir: gets ``submitit_logs``.
        name: of the job, where ``submitit.name`` gives none.
    """
    try:
        import submitit
    except ImportError as error:
        raise MissingDependencyError(
            'a run on a cluster needs Submitit: pip install "sam3-segment[train]" '
            "(or pip install submitit); --use-cluster 0 trains on this machine"
        ) from error
    executor = submitit.AutoExecutor(folder=str(log_dir / "submitit_logs"))
    executor.update_parameters(**job_parameters(cfg, name))
    tasks = int((cfg.submitit.get("job_array") or {}).get("num_tasks") or 0)
    if not tasks:
        job = executor.submit(SubmititRunner(pick_port(cfg), cfg))
        _log.info("submitted job %s", job.job_id)
        return [job]
    copies = [_array_copy(cfg, index) for index in range(tasks)]
    ports = distinct_ports(cfg, tasks)
    jobs = []
    with executor.batch():
        for port, copy in zip(ports, copies, strict=True):
            jobs.append(executor.submit(SubmititRunner(port, copy)))
    for job, copy in zip(jobs, copies, strict=True):
        write_config(copy, log_dir / "job_array_configs", f"{job.job_id}.")
        _log.info("submitted job %s", job.job_id)
    return jobs


def job_parameters(cfg: DictConfig, name: str) -> dict[str, Any]:
    """What Submitit is told about a job.

    Raises InputError for fewer named nodes than the job wants.
    """
    wanted, launcher = cfg.submitit, cfg.launcher
    additional: dict[str, Any] = {}
    if wanted.get("exclude_nodes"):
        additional["exclude"] = ",".join(wanted.exclude_nodes)
    include = wanted.get("include_nodes")
    if include:
        if len(include) < launcher.num_nodes:
            raise InputError(
                f"submitit.include_nodes names {len(include)} nodes, the job wants "
                f"{launcher.num_nodes}"
            )
        additional["nodelist"] = ",".join(include)
    parameters: dict[str, Any] = {
        "name": wanted.get("name") or name,
        "timeout_min": int(60 * wanted.timeout_hour),
        "nodes": int(launcher.num_nodes),
        "gpus_per_node": int(launcher.gpus_per_node),
        "tasks_per_node": int(launcher.gpus_per_node),
        "cpus_per_task": int(wanted.cpus_per_task),
        "slurm_partition": wanted.get("partition"),
        "slurm_additional_parameters": additional or None,
        "slurm_account": wanted.get("account"),
        "slurm_qos": wanted.get("qos"),
        "slurm_constraint": wanted.get("constraint"),
        "slurm_comment": wanted.get("comment"),
        "mem_gb": wanted.get("mem_gb"),
        "slurm_mem": wanted.get("mem"),
    }
    binding = (wanted.get("srun_args") or {}).get("cpu_bind")
    if binding:
        parameters["slurm_srun_args"] = [f"--cpu-bind={binding}"]
    return {key: value for key, value in parameters.items() if value is not None}


def pick_port(cfg: DictConfig) -> int:
    """A random port of ``submitit.port_range``, both ends included."""
    return distinct_ports(cfg, 1)[0]


def distinct_ports(cfg: DictConfig, count: int) -> Sequence[int]:
    """Random ports of ``submitit.port_range``; they do not follow a run's seed."""
    first, last = cfg.submitit.port_range
    return random.SystemRandom().sample(range(first, last + 1), count)


def write_config(cfg: DictConfig, folder: Path, start: str = "") -> None:
    """Write ``<start>config.yaml`` and ``<start>config_resolved.yaml``.

    Raises InputError where an interpolation of the configuration leads nowhere.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    folder.mkdir(parents=True, exist_ok=True)
    try:
        resolved = OmegaConf.to_yaml(cfg, resolve=True)
    except OmegaConfBaseException as error:
        raise InputError(f"the configuration cannot be resolved: {error}") from error
    for name, text in (("config", OmegaConf.to_yaml(cfg)), ("config_resolved", resolved)):
        path = folder / f"{start}{name}.yaml"
        temporary = path.with_suffix(".tmp")
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)


def _array_copy(cfg: DictConfig, index: int) -> DictConfig:
    copy = deepcopy(cfg)
    copy.submitit.job_array.task_index = index
    return copy

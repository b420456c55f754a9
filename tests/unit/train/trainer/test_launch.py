"""The entry point: options, folders, one process, several, torchrun, Submitit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("hydra")

from sam3.errors import InputError  # noqa: E402
from sam3.train.launch.cluster import distinct_ports, job_parameters, submit  # noqa: E402
from sam3.train.train import main, parser, prepare  # noqa: E402

ROOT = Path(__file__).resolve().parents[4]
CONFIG = """
# @package _global_
defaults: [_self_]
trainer:
  _target_: sam3.train.trainer.Trainer
  accelerator: cpu
  mode: train_only
  max_epochs: 2
  data:
    train:
      _target_: sam3.train.data.torch_dataset.TorchDataset
      dataset: {_target_: tests.support.toy_training.ToySamples}
      batch_size: 4
      num_workers: 0
      shuffle: true
      pin_memory: false
      drop_last: true
      collate_fn: {_target_: tests.support.toy_training.Collate}
  model: {_target_: tests.support.toy_training.ToyModel}
  loss:
    toy: {_target_: tests.support.toy_training.ToyLoss}
  optim:
    optimizer: {_target_: torch.optim.AdamW, lr: 0.01}
  checkpoint: {save_dir: "${launcher.experiment_log_dir}/checkpoints", save_freq: 0}
  logging: {log_dir: "${launcher.experiment_log_dir}/logs", log_freq: 3}
launcher: {num_nodes: 1, gpus_per_node: 1, experiment_log_dir: null}
submitit:
  use_cluster: true
  timeout_hour: 1
  cpus_per_task: 1
  port_range: [20000, 60000]
  job_array: {num_tasks: 0, task_index: 0}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    path = tmp_path / "toy.yaml"
    path.write_text(CONFIG)
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "")  # so that what a run sets is taken back
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return str(path)


def steps(folder: Path) -> list[int]:
    text = (folder / "logs" / "train_stats.json").read_text()
    return [json.loads(line)["step"] for line in text.splitlines()]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def test_options_and_overrides_change_the_configuration(config: str) -> None:
    arguments = ["-c", config, "--use-cluster", "0", "--num-gpus", "3", "--partition", "fast"]
    cfg = prepare(parser().parse_args([*arguments, "trainer.max_epochs=7"]))
    assert cfg.launcher.gpus_per_node == 3 and cfg.submitit.use_cluster is False
    assert cfg.submitit.partition == "fast" and cfg.trainer.max_epochs == 7
    assert cfg.launcher.experiment_log_dir == str(Path.cwd() / "sam3_logs" / "toy")


def test_a_section_may_not_be_missing(config: str) -> None:
    with pytest.raises(InputError, match="no section 'submitit'"):
        prepare(parser().parse_args(["-c", config, "submitit=null"]))


def test_one_process_here(config: str) -> None:
    assert main(["-c", config, "--use-cluster", "0"]) == 0
    folder = Path("sam3_logs/toy")
    assert steps(folder) == [6, 12]
    assert "${launcher" in (folder / "config.yaml").read_text()
    assert "${" not in (folder / "config_resolved.yaml").read_text()
    assert (folder / "checkpoints" / "checkpoint.pt").exists()


def test_mistakes_end_with_a_message(config: str, caplog: pytest.LogCaptureFixture) -> None:
    assert main(["-c", config, "--use-cluster", "0", "trainer.mode=dream"]) == 2
    assert "mode must be one of" in caplog.text
    assert main(["-c", "no_such_config"]) == 2
    assert "there is no configuration" in caplog.text


def test_several_processes_here(config: str) -> None:
    command = [sys.executable, "-m", "sam3.train.train", "-c", config]
    options = ["--use-cluster", "0", "--num-gpus", "2"]
    subprocess.run([*command, *options], env=environment(), check=True, timeout=300)
    assert steps(Path("sam3_logs/toy")) == [3, 6]  # each process takes half of the samples
    state = torch.load("sam3_logs/toy/checkpoints/checkpoint.pt", weights_only=True)
    assert len(state["position"]["random"]) == 2


@pytest.mark.slow  # starts three processes, as the test above
def test_under_torchrun(config: str) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    options = ["-m", "sam3.train.train", "-c", config, "--use-cluster", "0"]
    env = (
        {**environment(), "GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else environment()
    )
    subprocess.run([*command, *options], env=env, check=True, timeout=300)
    assert steps(Path("sam3_logs/toy")) == [3, 6]


def test_through_submitit(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    submitit = pytest.importorskip("submitit")
    monkeypatch.setattr(submitit.AutoExecutor, "which", lambda self: "local", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    cfg = prepare(parser().parse_args(["-c", config, "submitit.job_array.num_tasks=2"]))
    cfg.launcher.experiment_log_dir = str(Path.cwd() / "runs" / "${submitit.job_array.task_index}")
    jobs = submit(cfg, Path.cwd() / "jobs", "toy")
    for job in jobs:
        job.result()
    for index, job in enumerate(jobs):
        assert steps(Path("runs") / str(index)) == [6, 12]
        text = (Path("jobs") / "job_array_configs" / f"{job.job_id}.config.yaml").read_text()
        assert f"task_index: {index}" in text


def test_what_a_job_asks_for(config: str) -> None:
    wanted: dict[str, Any] = {
        "partition": "fast",
        "qos": "high",
        "exclude_nodes": ["a", "b"],
        "include_nodes": ["c", "d"],
        "mem_gb": 64,
        "srun_args": {"cpu_bind": "none"},
    }
    overrides = [f"+submitit.{k}={v}" for k, v in wanted.items() if isinstance(v, (str, int))]
    cfg = prepare(parser().parse_args(["-c", config, *overrides, "launcher.num_nodes=2"]))
    cfg.submitit = {**cfg.submitit, **wanted}
    asked = job_parameters(cfg, "toy")
    assert asked["timeout_min"] == 60 and asked["name"] == "toy" and asked["nodes"] == 2
    assert asked["slurm_partition"] == "fast" and asked["slurm_qos"] == "high"
    assert asked["slurm_additional_parameters"] == {"exclude": "a,b", "nodelist": "c,d"}
    assert asked["slurm_srun_args"] == ["--cpu-bind=none"] and asked["mem_gb"] == 64
    assert "slurm_account" not in asked
    cfg.launcher.num_nodes = 3
    with pytest.raises(InputError, match="names 2 nodes, the job wants 3"):
        job_parameters(cfg, "toy")


def test_ports_are_distinct_and_in_range(config: str) -> None:
    cfg = prepare(parser().parse_args(["-c", config, "submitit.port_range=[5,7]"]))
    assert sorted(distinct_ports(cfg, 3)) == [5, 6, 7]


def test_a_stopped_run_says_so(config: str) -> None:
    stop = "+trainer.optim.gradient_logger._target_=tests.support.toy_training.StopNow"
    command = ["-c", config, "--use-cluster", "0"]
    assert main([*command, stop]) == 3
    assert main(command) == 0
    assert steps(Path("sam3_logs/toy")) == [6, 12]

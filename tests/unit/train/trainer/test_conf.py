"""Settings of the trainer: defaults, mappings, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sam3.errors import InputError
from sam3.train.loop.conf import read_conf
from sam3.train.trainer import (
    CheckpointConf,
    CudaConf,
    DistributedConf,
    LoggingConf,
    OptimAMPConf,
    OptimConf,
    get_human_readable_count,
)
from tests.support.toy_training import ToyModel, toy_data, toy_trainer


def test_defaults() -> None:
    assert OptimConf().amp == OptimAMPConf(enabled=False, amp_dtype="float16")
    assert DistributedConf().backend is None and DistributedConf().timeout_mins == 30
    conf = LoggingConf("logs", 10)
    assert (conf.log_scalar_frequency, conf.log_level_secondary) == (100, "ERROR")
    assert CheckpointConf("out", 0).initialize_after_preemption is False


def test_amp_may_be_a_mapping() -> None:
    amp = OptimConf(amp={"enabled": True, "amp_dtype": "bfloat16"}).amp
    assert amp.enabled and amp.dtype is torch.bfloat16


def test_tf32_switches_follow_the_common_one() -> None:
    assert CudaConf(allow_tf32=True).matmul_allow_tf32 is True
    assert CudaConf(allow_tf32=True, cudnn_allow_tf32=False).cudnn_allow_tf32 is False


def test_skipped_parameters_are_set_again_after_an_interruption() -> None:
    conf = CheckpointConf("out", 0, skip_saving_parameters=["backbone.*"])
    assert conf.initialize_after_preemption is True


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (OptimConf, {"lr": 1}, "no field .*lr"),
        (OptimAMPConf, {"amp_dtype": "int8"}, "amp_dtype must be one of"),
        (DistributedConf, {"backend": "smoke"}, "backend must be one of"),
        (CheckpointConf, {"save_freq": 1}, "save_dir"),
        (CheckpointConf, {"save_dir": "x", "save_freq": -1}, "must not be negative"),
        (LoggingConf, {"log_dir": "x", "log_freq": 0}, "at least 1"),
    ],
)
def test_wrong_settings_are_refused(kind: type, values: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_conf(kind, values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": "dream"}, "mode must be one of"),
        ({"max_epochs": 0}, "max_epochs"),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps"),
        ({"optim_overrides": [{"lr": 1}]}, "optim_overrides"),
        ({"accelerator": "abacus"}, "accelerator must be one of"),
        ({"data": {"train": toy_data()["train"]}}, "needs data.val"),
        ({"data": {"train": [1, 2], "val": [1]}}, "get_loader"),
        ({"model": "a model"}, "model must be a torch module"),
        ({"optim": {"optimizer": None}}, "needs optim.optimizer"),
        ({"loss": {"default": "small"}}, "loss 'default' must be a torch module"),
    ],
)
def test_a_trainer_refuses(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        toy_trainer(tmp_path, **changes)


def test_trained_parameters_cannot_be_left_out_of_checkpoints(tmp_path: Path) -> None:
    checkpoint = {"skip_saving_parameters": ["linear.*"]}
    with pytest.raises(InputError, match="would lose trained parameters"):
        toy_trainer(tmp_path, checkpoint=checkpoint)
    model = ToyModel()
    model.linear.requires_grad_(False)
    toy_trainer(tmp_path, checkpoint=checkpoint, model=model)


@pytest.mark.parametrize(
    ("number", "text"), [(42, "42"), (1234, "1.2 K"), (840_000_000, "840.0 M"), (0, "0")]
)
def test_readable_counts(number: int, text: str) -> None:
    assert get_human_readable_count(number) == text

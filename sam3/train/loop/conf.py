"""Settings of the trainer, as the experiments spell them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

import torch

from ...errors import InputError

AMP_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
BACKENDS = ("nccl", "gloo", "mpi")


@dataclass(frozen=True)
class OptimAMPConf:
    """Mixed precision: forward passes in ``amp_dtype`` where that is safe."""

    enabled: bool = False
    amp_dtype: str = "float16"

    def __post_init__(self) -> None:
        _check_choice("amp_dtype", self.amp_dtype, tuple(AMP_DTYPES))

    @property
    def dtype(self) -> torch.dtype:
        """``amp_dtype`` as torch knows it."""
        return AMP_DTYPES[self.amp_dtype]


@dataclass(frozen=True)
class OptimConf:
    """Optimiser, schedules and what happens to gradients.

    Attributes:
        optimizer, options, param_group_modifiers: see ``optim.optimizer.construct_optimizer``.
        amp: ``OptimAMPConf`` or a mapping of its fields.
        gradient_clip: called with the model before a step, such as ``GradientClipper``.
        gradient_logger: called with the model, its step and ``where`` before a step.
        ema_decay: keep averaged weights, which validation and export use; None = none.
    """

    optimizer: Any = None
    options: Any = None
    param_group_modifiers: Any = None
    amp: Any = None
    gradient_clip: Any = None
    gradient_logger: Any = None
    ema_decay: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "amp", read_conf(OptimAMPConf, self.amp))


@dataclass(frozen=True)
class DistributedConf:
    """Several processes.

    Attributes:
        backend: None = nccl on CUDA, gloo elsewhere.
        comms_dtype: "float16" or "bfloat16" sends gradients in that format.
        timeout_mins: how long a process waits for the others.
        find_unused_parameters, gradient_as_bucket_view, static_graph: as of
            ``torch.nn.parallel.DistributedDataParallel``.
    """

    backend: str | None = None
    comms_dtype: str | None = None
    find_unused_parameters: bool = False
    timeout_mins: int = 30
    gradient_as_bucket_view: bool = False
    static_graph: bool = False

    def __post_init__(self) -> None:
        _check_choice("backend", self.backend, (None, *BACKENDS))
        _check_choice("comms_dtype", self.comms_dtype, (None, *AMP_DTYPES))


@dataclass(frozen=True)
class CudaConf:
    """Switches of cuDNN and TF32; the None ones follow ``allow_tf32``."""

    cudnn_deterministic: bool = False
    cudnn_benchmark: bool = True
    allow_tf32: bool = False
    matmul_allow_tf32: bool | None = None
    cudnn_allow_tf32: bool | None = None

    def __post_init__(self) -> None:
        for name in ("matmul_allow_tf32", "cudnn_allow_tf32"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, self.allow_tf32)


@dataclass(frozen=True)
class CheckpointConf:
    """What is saved, where, and what a run starts from.

    Attributes:
        save_dir: folder of the checkpoints.
        save_freq: keep ``checkpoint_<epoch>.pt`` after every so many epochs, 0 = none.
        save_list: epochs to keep besides.
        model_weight_initializer: called with the model, returns it; not on a resumed run.
        save_best_meters: patterns of metrics whose best value saves a checkpoint of its own.
        skip_saving_parameters: patterns of parameters that are left out; these must be frozen.
        initialize_after_preemption: run the initialiser before a checkpoint is loaded; None = if
            parameters are left out of checkpoints.
        resume_from: a checkpoint to go on from where the folder holds none.
        save_every_steps, save_minutes: also save within epochs, 0 = not.
    """

    save_dir: str
    save_freq: int
    save_list: Sequence[int] = field(default_factory=list)
    model_weight_initializer: Any = None
    save_best_meters: Sequence[str] | None = None
    skip_saving_parameters: Sequence[str] = field(default_factory=list)
    initialize_after_preemption: bool | None = None
    resume_from: str | None = None
    save_every_steps: int = 0
    save_minutes: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "skip_saving_parameters", list(self.skip_saving_parameters or ()))
        object.__setattr__(self, "save_list", list(self.save_list or ()))
        if self.initialize_after_preemption is None:
            skips = bool(self.skip_saving_parameters)
            object.__setattr__(self, "initialize_after_preemption", skips)
        if min(self.save_freq, self.save_every_steps, self.save_minutes) < 0:
            raise InputError(
                "save_freq, save_every_steps and save_minutes must not be negative (0 = never), "
                f"got {self.save_freq}, {self.save_every_steps} and {self.save_minutes}"
            )


@dataclass(frozen=True)
class LoggingConf:
    """Where and how often a run reports.

    Attributes:
        log_dir: gets ``log.txt`` and the JSON-lines files of statistics.
        log_freq: steps per printed line.
        tensorboard_writer: what ``utils.logger.make_tensorboard_logger`` returns, or its
            configuration; None = none.
        log_level_primary, log_level_secondary: of process 0 and of the others.
        log_scalar_frequency: steps per point of a curve.
        log_visual_frequency: accepted for the published configurations; nothing is drawn.
        scalar_keys_to_log: losses to log: mapping of a phase to names; None = all.
        log_batch_stats: log sizes of batches, too.
        wandb_writer: an object with ``log(values, step)``, or None.
    """

    log_dir: str
    log_freq: int
    tensorboard_writer: Any = None
    log_level_primary: str = "INFO"
    log_level_secondary: str = "ERROR"
    log_scalar_frequency: int = 100
    log_visual_frequency: int = 100
    scalar_keys_to_log: Mapping[str, Any] | None = None
    log_batch_stats: bool = False
    wandb_writer: Any = None

    def __post_init__(self) -> None:
        if self.log_freq < 1 or self.log_scalar_frequency < 1:
            raise InputError(
                "log_freq and log_scalar_frequency must be at least 1, got "
                f"{self.log_freq} and {self.log_scalar_frequency}"
            )


Conf = TypeVar("Conf")


def read_conf(kind: type[Conf], value: Any) -> Conf:
    """``value`` as a ``kind``: an instance as it is, a mapping as its fields, None as defaults.

    Raises InputError for unknown or missing fields, naming the known ones.
    """
    if isinstance(value, kind):
        return value
    given = {str(name): item for name, item in dict(value or {}).items() if name != "_target_"}
    known = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    unknown = sorted(given.keys() - set(known))
    if unknown:
        raise InputError(f"{kind.__name__} has no field {unknown}; it has {known}")
    try:
        return kind(**given)
    except TypeError as error:
        raise InputError(f"{kind.__name__}: {error}; its fields are {known}") from error


def _check_choice(name: str, value: Any, allowed: Sequence[Any]) -> None:
    if value not in allowed:
        raise InputError(f"{name} must be one of {list(allowed)}, got {value!r}")

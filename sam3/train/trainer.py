"""The trainer of the experiments: from a configuration to checkpoints and metrics.

    trainer = Trainer(data=..., model=..., optim=..., loss=..., logging=..., checkpoint=...,
                      max_epochs=20)
    trainer.run()

Configurations name it as ``trainer._target_``; ``python -m sam3.train.train`` starts it in one or
several processes. Its parts are in ``sam3/train/loop/``.

A run that was killed goes on from its last whole checkpoint, also from within an epoch, and gives
the numbers it would have given: checkpoints hold the place in the epoch and all random states, and
what a sample draws depends on the seed, the epoch and the sample alone.
"""

from __future__ import annotations

import logging as python_logging
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch

from ..errors import InputError
from ..perflib.distributed import Collective
from .loop.averages import RunningMeans
from .loop.best import BestMetrics
from .loop.building import build
from .loop.components import (
    build_components,
    get_human_readable_count,
    print_model_summary,
    share_gradients,
)
from .loop.conf import (
    CheckpointConf,
    CudaConf,
    DistributedConf,
    LoggingConf,
    OptimAMPConf,
    OptimConf,
    read_conf,
)
from .loop.display import EpochDisplay
from .loop.environment import (
    join_processes,
    pick_accelerator,
    restore_random_states,
    seed_everything,
    set_environment,
    set_switches,
)
from .loop.forward import ForwardPass, ModelWithLoss, unwrap_ddp_if_wrapped
from .loop.loading import NEEDED, TRAIN, VAL, EpochBatches, build_data, describe_samples
from .loop.optimisation import OptimisationStep
from .loop.pace import Pace
from .loop.position import RunPosition
from .loop.reports import BEST_STATS, TRAIN_STATS, VAL_STATS, RunReports
from .loop.run_checkpoints import RunCheckpoints
from .loop.signals import StopSignals
from .loop.validation import Validation

__all__ = [
    "CheckpointConf",
    "CudaConf",
    "DistributedConf",
    "LoggingConf",
    "OptimAMPConf",
    "OptimConf",
    "Trainer",
    "get_human_readable_count",
    "print_model_summary",
    "unwrap_ddp_if_wrapped",
]

_log = python_logging.getLogger(__name__)


class Trainer:
    """Trains and validates a model as a configuration says.

    Every argument that is an object may also be a Hydra node with ``_target_``.

    Args:
        data: ``train`` and ``val``, each with ``get_loader(epoch)``; a batch is
            ``{key: BatchedDatapoint}``, with accumulation a list of them.
        model: called with a ``BatchedDatapoint``; has ``back_convert`` for its targets.
        logging, checkpoint, distributed, cuda, optim: the records above, or mappings.
        max_epochs: length of the training.
        mode: "train" (ends with a validation), "train_only" or "val".
        accelerator: "cuda", "mps", "cpu" or "auto".
        seed_value: of all random numbers, together with the number of the process.
        val_epoch_freq: epochs between validations.
        env_variables: set before anything else.
        optim_overrides: not supported; must be empty.
        meters: ``val`` -> key of a batch -> name -> meter (``sam3.eval.protocols.Meter``).
        loss: key of a batch (or "default") -> loss module, called with stages and targets.
        skip_first_val: no validation after the first epoch.
        skip_saving_ckpts: save nothing.
        empty_gpu_mem_cache_after_eval: give memory back after a validation.
        gradient_accumulation_steps: batches per step, whose gradients are summed.
        max_minutes: end earlier, after so many minutes of training; schedules follow the time.
        hooks: objects whose ``on_training_end(trainer)`` is called when a training is complete.
    """

    def __init__(
        self,
        *,
        data: Mapping[str, Any],
        model: Any,
        logging: Any,
        checkpoint: Any,
        max_epochs: int,
        mode: str = "train",
        accelerator: str = "cuda",
        seed_value: int = 123,
        val_epoch_freq: int = 1,
        distributed: Any = None,
        cuda: Any = None,
        env_variables: Mapping[str, Any] | None = None,
        optim: Any = None,
        optim_overrides: Any = None,
        meters: Any = None,
        loss: Any = None,
        skip_first_val: bool = False,
        skip_saving_ckpts: bool = False,
        empty_gpu_mem_cache_after_eval: bool = True,
        gradient_accumulation_steps: int = 1,
        max_minutes: float | None = None,
        hooks: Iterable[Any] = (),
    ) -> None:
        """Raises InputError and DeviceError for settings that cannot work, CheckpointError for
        checkpoints that cannot be read or are of another model."""
        set_environment(env_variables)
        _check(mode, max_epochs, val_epoch_freq, gradient_accumulation_steps, optim_overrides)
        self.mode = mode
        self.max_epochs = max_epochs
        self.val_epoch_freq = val_epoch_freq
        self.skip_first_val = skip_first_val
        self.empty_gpu_mem_cache_after_eval = empty_gpu_mem_cache_after_eval
        self.position = RunPosition()
        self.optim_conf = read_conf(OptimConf, optim)
        self.distributed_conf = read_conf(DistributedConf, distributed)
        self.checkpoint_conf = read_conf(CheckpointConf, checkpoint)
        self.logging_conf = read_conf(LoggingConf, logging)
        self.device = pick_accelerator(accelerator)
        set_switches(read_conf(CudaConf, cuda))
        self.ranks = join_processes(self.distributed_conf, self.device)
        self.pace = Pace(max_epochs, max_minutes, self.checkpoint_conf, self.ranks)
        self.reports = RunReports(self.logging_conf, self.ranks.rank)
        seed_everything(seed_value, self.ranks.rank, max_epochs)
        self.parts = build_components(
            model=model,
            loss=loss,
            meters=meters,
            optim=self.optim_conf,
            device=self.device,
            trains=self._trains,
        )
        self.hooks = [build(hook) for hook in hooks or ()]
        self.data = build_data(data, mode)
        self.checkpoints = RunCheckpoints(
            self.checkpoint_conf, self.parts, self.ranks, enabled=not skip_saving_ckpts
        )
        self._random: Mapping[str, Any] | None = None
        self._means = RunningMeans()
        self._resumed = self._go_on(self.checkpoints.begin())
        self._prepare_steps(gradient_accumulation_steps)
        self.ranks.barrier()

    @property
    def model(self) -> torch.nn.Module:
        """The model, without what joins it to other processes."""
        return self.parts.model

    @property
    def _leads(self) -> bool:
        """Whether this process writes files and decides."""
        return self.ranks.rank == 0

    @property
    def _trains(self) -> bool:
        return self.mode != VAL

    def _prepare_steps(self, chunks: int) -> None:
        parts = self.parts
        self.forward = ForwardPass(parts.losses, self.device, self.optim_conf.amp)
        self.validation = Validation(self.forward, parts.meters)
        self.best = BestMetrics(parts.meters, self.checkpoint_conf.save_best_meters)
        if self._leads:
            print_model_summary(parts.model)
        if parts.optim is None:
            return
        whole = ModelWithLoss(parts.model, self.forward)
        model = share_gradients(whole, self.distributed_conf, self.device, self.ranks)
        if parts.ema is not None and not self._resumed:
            parts.ema.restart()  # all processes now have the weights of process 0
        self.step = OptimisationStep(
            model,
            parts.optim,
            parts.scaler,
            chunks=chunks,
            clip=parts.clip,
            gradient_logger=parts.gradient_logger,
            ema=parts.ema,
        )

    def _go_on(self, state: Mapping[str, Any] | None) -> bool:
        """Take the place in the run from a checkpoint; whether there is one."""
        if state is None:
            return False
        self.position, place = RunPosition.of(state)
        self.pace.time.resume(float(state["time_elapsed"]))
        self._means.load_state_dict(place.get("pending") or {"sums": {}, "counts": {}})
        self._random = _own_random_states(place.get("random") or [], self.ranks)
        _log.info("going on at epoch %d, step %d", self.position.epoch, self.position.step)
        if self._trains:
            self.reports.cut_after(self.position.steps[TRAIN], validated=self.position.step > 0)
        return True

    # ---- the run ----------------------------------------------------------------------------

    def run(self) -> bool:
        """Train and validate; whether the run is complete.

        SIGINT and SIGTERM end it after a step, with a checkpoint. Started again with the same
        settings it goes on from there.

        Raises:
            FloatingPointError: the loss is not finite; names the samples and the losses. The last
                checkpoint is left as it was.
        """
        try:
            return self._run()
        finally:
            self.reports.close()

    def _run(self) -> bool:
        complete = True
        if self._trains:
            complete = self.run_train()
        if complete and self.mode != "train_only":
            self.run_val(max(self.position.epoch - 1, 0))
        if complete and self._trains:
            for hook in self.hooks:
                hook.on_training_end(self)
        return complete

    def run_train(self) -> bool:
        """Train to the end; False after a signal that asks to stop."""
        self.pace.time.start()
        self._restore_random_states(within_epoch=False)
        if self._resumed and self.position.step == 0:
            self._validate_between(self.position.epoch - 1)  # it may have been interrupted
        with StopSignals(ignore=not self._leads) as signals:
            while not self.pace.is_over(self.position.epoch):
                epoch = self.position.epoch
                if not self.train_epoch(epoch, signals):
                    return False
                self._validate_between(epoch)
        return True

    def run_val(self, epoch: int) -> dict[str, float]:
        """Validate, with the averaged weights if there are any; metrics by name."""
        batches = EpochBatches(self.data[VAL], epoch)
        _log.info("validation after epoch %d: %d batches", epoch, len(batches))
        ema = self.parts.ema
        with nullcontext() if ema is None else ema.averaged():
            metrics = self.validation(self.model, batches)
        self.position.steps[VAL] += len(batches)
        self.reports.line(
            VAL_STATS, self.position.steps[TRAIN], {**metrics, "Trainer/epoch": epoch}
        )
        for name, value in metrics.items():
            _log.info("%s: %.5g", name, value)
        self._note_best(metrics)
        if self.device.type == "cuda" and self.empty_gpu_mem_cache_after_eval:
            torch.cuda.empty_cache()
        return metrics

    def _validate_between(self, epoch: int) -> None:
        """The validation after an epoch that is not the last, if one is due."""
        due = (
            self.mode == "train"
            and epoch >= 0
            and epoch % self.val_epoch_freq == 0
            and not (self.skip_first_val and epoch == 0)
            and not self.pace.is_over(epoch + 1)
        )
        if due:
            self.run_val(epoch)

    def _note_best(self, metrics: Mapping[str, float]) -> None:
        for name in self.best.take(metrics, self.position.best):
            if self._trains:
                self.checkpoints.save_best(name, *self._to_save())
        if self.position.best:
            self.reports.line(BEST_STATS, self.position.steps[TRAIN], self.position.best)

    # ---- an epoch ---------------------------------------------------------------------------

    def train_epoch(self, epoch: int, signals: StopSignals) -> bool:
        """Train the rest of an epoch and save; False after a signal that asks to stop."""
        self.model.train()
        batches = EpochBatches(self.data[TRAIN], epoch, self.position.step)
        iterator = iter(batches)
        self._restore_random_states(within_epoch=True)
        with EpochDisplay(
            f"epoch {epoch} ", batches.total, self.position.step, self.logging_conf.log_freq,
            self.device, shown=self._leads,
        ) as display:  # fmt: skip
            while self.position.step < batches.total:
                decision = self.pace.decide(signals, self.position.step)
                if (decision.stop or decision.save) and self.position.step > 0:
                    self.save_checkpoint()  # else the one between epochs is the same
                if decision.stop:
                    _log.warning("stopped at epoch %d, step %d", epoch, self.position.step)
                    return False
                if decision.time_share >= 1:
                    break
                start = time.perf_counter()
                batch = next(iterator, None)
                if batch is None:
                    break
                data_time = time.perf_counter() - start
                where = self.pace.where(
                    epoch, self.position.step / batches.total, decision.time_share
                )
                losses = self._train_step(batch, epoch, batches.total, where)
                display.step(losses, data_time, self.pace.time.elapsed)
        self._end_epoch(epoch)
        return True

    def _train_step(self, batch: Any, epoch: int, total: int, where: float) -> dict[str, float]:
        number = self.position.step

        def place() -> str:
            samples = describe_samples(self.data[TRAIN], epoch, number)
            return f"at epoch {epoch}, step {number}{samples}"

        losses = self.step(batch, epoch * total + number, where, place)
        self.position.step += 1
        self.position.steps[TRAIN] += 1
        wanted = {k: v for k, v in losses.items() if self.reports.wants(TRAIN, k)}
        self._means.add({f"Losses/{TRAIN}_{name}": value for name, value in wanted.items()})
        if number % self.logging_conf.log_scalar_frequency == 0:
            self.reports.log_step(wanted, self.step.optim, where, epoch, self.position.steps[TRAIN])
        return losses

    def _end_epoch(self, epoch: int) -> None:
        means = self._means.means()
        steps = {f"Trainer/steps_{phase}": n for phase, n in self.position.steps.items()}
        self.reports.line(
            TRAIN_STATS, self.position.steps[TRAIN], {**means, "Trainer/epoch": epoch, **steps}
        )
        self._means = RunningMeans()
        self.position.epoch, self.position.step = epoch + 1, 0
        self.save_checkpoint()

    # ---- aids -------------------------------------------------------------------------------

    def save_checkpoint(self) -> None:
        """Write ``checkpoint.pt`` for the place the run is at; every process must call it."""
        self.checkpoints.save(*self._to_save())
        self.pace.time.note()

    def _to_save(self) -> tuple[RunPosition, float, dict[str, Any]]:
        return self.position, self.pace.time.elapsed, self._means.state_dict()

    def _restore_random_states(self, within_epoch: bool) -> None:
        """Restore once, at the place where the checkpoint was made: between epochs or within."""
        if self._random is not None and within_epoch == (self.position.step > 0):
            restore_random_states(self._random)
            self._random = None


def _check(mode: str, epochs: int, val_freq: int, chunks: int, overrides: Any) -> None:
    if mode not in NEEDED:
        raise InputError(f"mode must be one of {list(NEEDED)}, got {mode!r}")
    if epochs < 1 or val_freq < 1 or chunks < 1:
        raise InputError(
            "max_epochs, val_epoch_freq and gradient_accumulation_steps must be at least 1, got "
            f"{epochs}, {val_freq} and {chunks}"
        )
    if overrides:
        raise InputError("optim_overrides are not supported: change optim.options instead")


def _own_random_states(everyone: Sequence[Any], ranks: Collective) -> Mapping[str, Any] | None:
    """The random states of this process among those of a checkpoint."""
    if everyone and len(everyone) != ranks.world_size:
        _log.warning(
            "the checkpoint is of a run with %d processes, this one has %d: numbers differ from "
            "those of an uninterrupted run",
            len(everyone),
            ranks.world_size,
        )
    return everyone[ranks.rank] if ranks.rank < len(everyone) else None

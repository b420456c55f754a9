"""The trainer: a resumable loop over batches for any model that returns something a loss can read.

    trainer = StepTrainer(model, loss, source, config=TrainConfig(steps=1000), folder=Path("run"))
    result = trainer.run(resume=True)

A step depends only on its number, the seed and the weights, so a run that was killed and resumed
gives the numbers it would have given. Batches are asked for by number, never drawn from a global
random state.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import CheckpointMismatchError
from ...model.utils.misc import copy_data_to_device
from ..loss.base import CORE_LOSS_KEY
from ..optim.clipping import GradientClipper
from ..optim.ema import WeightEMA
from ..optim.param_groups import weight_decay_groups
from ..optim.schedulers import WarmupHoldCosine
from .batches import BatchSource, batches_ahead
from .checkpoints import CheckpointStore
from .clock import RunClock
from .config import TrainConfig
from .log import JsonLinesLog
from .parallel import ProcessGroup
from .signals import StopSignals

logger = logging.getLogger(__name__)

Objective = Callable[[Any, Any], dict[str, Tensor]]
Evaluate = Callable[[nn.Module, int], dict[str, float]]
OptimizerFactory = Callable[[nn.Module, TrainConfig], torch.optim.Optimizer]


@dataclass(frozen=True)
class TrainResult:
    """How a run ended: steps done in all, whether the training is complete, last evaluation."""

    step: int
    finished: bool
    metrics: dict[str, float]


def make_adamw(
    model: nn.Module, config: TrainConfig, lr_scales: Mapping[str, float] | None = None
) -> torch.optim.Optimizer:
    """AdamW with weight decay on matrices only; ``lr_scales`` as in ``weight_decay_groups``."""
    groups = weight_decay_groups(model, config.weight_decay, lr_scales)
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, foreach=True)


class StepTrainer:
    """Trains ``model``; see the module for the contract.

    Args:
        model: called as ``model(batch)``.
        loss: called as ``loss(outputs, batch)``; returns scalars, of which ``core_loss`` is
            differentiated.
        source: gives batches by number.
        config: length, schedule, intervals, device; the model is moved there.
        folder: gets ``latest.pt``, ``previous.pt`` and ``log.jsonl``.
        optimizer_factory: makes the optimiser; a group may hold a factor ``lr_scale``.
        evaluate: called on the leader with the averaged weights in the model, in eval mode.
        describe: text that identifies a batch, for the report of a diverged loss.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Objective,
        source: BatchSource,
        *,
        config: TrainConfig,
        folder: Path,
        optimizer_factory: OptimizerFactory = make_adamw,
        evaluate: Evaluate | None = None,
        describe: Callable[[Any], str] | None = None,
    ) -> None:
        self.device = torch.device(config.device)
        self.model = model.to(self.device)
        self.loss = loss
        self.config = config
        self.evaluate = evaluate
        self.describe = describe
        self.group = ProcessGroup()
        self.group.copy_from_leader(model)
        self.source = batches_ahead(source, config.workers, self.group.size)
        self.optimizer = optimizer_factory(model, config)
        self.schedule = WarmupHoldCosine(
            base_lr=config.lr,
            warmup_steps=config.warmup_steps,
            hold=config.hold,
            final=config.final_lr,
        )
        self.clipper = GradientClipper(config.clip)
        self.ema = WeightEMA(model, config.ema_decay)
        self.clock = RunClock(config)
        self.store = CheckpointStore(folder)
        self.log = JsonLinesLog(folder / "log.jsonl")
        self.step = 0
        self.metrics: dict[str, float] = {}
        self._sums: dict[str, float] = defaultdict(float)
        self._times: dict[str, float] = defaultdict(float)
        self._logged = 0

    # ---- life cycle -----------------------------------------------------------------------

    def run(self, resume: bool = False) -> TrainResult:
        """Train to the end, or until SIGINT/SIGTERM, and leave a checkpoint.

        Args:
            resume: go on from the newest checkpoint in the folder, if there is one. Without it a
                checkpoint in the folder is overwritten.

        Raises:
            FloatingPointError: a loss or gradient is not finite; names step, batch and losses.
                The last checkpoint is left as it was.
        """
        if self.config.threads is not None:
            torch.set_num_threads(self.config.threads)
        torch.set_flush_denormal(True)  # shrinking weights must not slow the CPU down
        torch.manual_seed(self.config.seed + self.group.rank)
        self.clock.resume(0.0)
        state = self.store.load() if resume else None
        if state is not None:
            self._load(state)
        elif self.group.is_leader:
            self.log.cut_after(-1)
        self.model.train()
        with StopSignals(ignore=not self.group.is_leader) as stop:
            finished = self._loop(stop)
        if finished:
            self._evaluate()
        self._save()
        return TrainResult(self.step, finished, dict(self.metrics))

    def _loop(self, stop: StopSignals) -> bool:
        """Steps until the end (True) or a stop (False); intervals are the leader's decision."""
        while True:
            progress, stopping, saving, evaluating = self.group.from_leader(
                [
                    self.clock.progress(self.step),
                    float(stop.requested),
                    float(self.clock.due("checkpoint", self.config.checkpoint_minutes)),
                    float(self.clock.due("evaluate", self.config.evaluate_minutes)),
                ]
            )
            if progress >= 1:
                return True
            if stopping:
                return False
            if evaluating:
                self._evaluate()
            if saving:
                self._save()
            self._train_step(progress)

    # ---- one step -------------------------------------------------------------------------

    def _train_step(self, progress: float) -> None:
        lr = self.schedule(self.step, progress)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group.get("lr_scale", 1.0)
        self.optimizer.zero_grad(set_to_none=True)
        problem = ""
        for part in range(self.config.accumulation):
            number = (self.step * self.config.accumulation + part) * self.group.size
            problem = problem or self._accumulate(number + self.group.rank, progress)
        start = time.perf_counter()
        if self.group.average_gradients(self.model, bool(problem)):
            raise FloatingPointError(problem or f"step {self.step}: another process diverged")
        norm = float(self.clipper(self.model))
        if norm != norm or norm == float("inf"):
            raise FloatingPointError(
                f"step {self.step}: the gradient norm is {norm}; lower the learning rate or look "
                "at the loss terms of the last log line"
            )
        self.optimizer.step()
        self.ema.update()
        self._times["update"] += time.perf_counter() - start
        self._sums["grad_norm"] += norm
        self.step += 1
        self._logged += 1
        if self.step % self.config.log_every == 0:
            self._write_log(lr, progress)

    def _accumulate(self, number: int, progress: float) -> str:
        """Add the gradient of one batch; returns a message if its loss is not finite."""
        marks = [time.perf_counter()]
        batch = copy_data_to_device(self.source.batch(number, progress), self.device)
        marks.append(time.perf_counter())
        outputs = self.model(batch)
        marks.append(time.perf_counter())
        losses = self.loss(outputs, batch)
        core = losses[CORE_LOSS_KEY]
        found = [value.detach().to(self.device).float() for value in losses.values()]
        values = dict(zip(losses, torch.stack(found).tolist(), strict=True))
        marks.append(time.perf_counter())
        if not torch.isfinite(core):
            what = self.describe(batch) if self.describe else ""
            shown = {name: round(value, 4) for name, value in values.items()}
            return (
                f"the loss is {values[CORE_LOSS_KEY]} at step {self.step}, batch {number} {what}: "
                f"{shown}"
            )
        (core / self.config.accumulation).backward()
        marks.append(time.perf_counter())
        for name, before, after in zip(
            ("data", "forward", "loss", "backward"), marks[:-1], marks[1:], strict=True
        ):
            self._times[name] += after - before
        for name, value in values.items():
            self._sums[name] += value / self.config.accumulation
        return ""

    # ---- intervals ------------------------------------------------------------------------

    def _write_log(self, lr: float, progress: float) -> None:
        count = max(self._logged, 1)
        if self.group.is_leader:
            self.log.write(
                self.step,
                minutes=round(self.clock.elapsed / 60, 3),
                progress=round(progress, 5),
                lr=lr,
                losses={name: value / count for name, value in self._sums.items()},
                seconds={name: round(value / count, 5) for name, value in self._times.items()},
            )
        self._sums.clear()
        self._times.clear()
        self._logged = 0

    def _evaluate(self) -> None:
        if self.evaluate is None or not self.group.is_leader:
            return
        self.model.eval()
        try:
            with self.ema.averaged(), torch.no_grad():
                self.metrics = self.evaluate(self.model, self.step)
        finally:
            self.model.train()
        minutes = round(self.clock.elapsed / 60, 3)
        self.log.write(self.step, minutes=minutes, evaluation=self.metrics)
        shown = ", ".join(f"{name} {value:.3f}" for name, value in self.metrics.items())
        logger.info("step %d, %.1f min: %s", self.step, minutes, shown)

    def _save(self) -> None:
        random_states = self.group.gather(torch.get_rng_state())
        if not self.group.is_leader:
            return
        self.store.save(
            {
                "model": self.model.state_dict(),
                "ema": self.ema.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "step": self.step,
                "elapsed": self.clock.elapsed,
                "random": random_states,
                "processes": self.group.size,
                "accumulation": self.config.accumulation,
                "metrics": self.metrics,
                "pending": {
                    "sums": dict(self._sums),
                    "times": dict(self._times),
                    "logged": self._logged,
                },
            }
        )

    def _load(self, state: Mapping[str, Any]) -> None:
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError) as error:
            raise CheckpointMismatchError(
                f"{self.store.latest} is of another model or optimiser: use a new output folder "
                f"({error})"
            ) from error
        self.ema.load_state_dict(state["ema"])
        self.step = int(state["step"])
        self.metrics = dict(state["metrics"])
        self.clock.resume(float(state["elapsed"]))
        before = (state["processes"], state["accumulation"])
        if before != (self.group.size, self.config.accumulation):
            logger.warning(
                "resumed with %d processes x %d batches after %d x %d: the batches differ from "
                "an uninterrupted run",
                self.group.size, self.config.accumulation, *before,
            )  # fmt: skip
        if self.group.rank < len(state["random"]):
            torch.set_rng_state(state["random"][self.group.rank])
        pending = state["pending"]
        self._sums.update(pending["sums"])
        self._times.update(pending["times"])
        self._logged = int(pending["logged"])
        if self.group.is_leader:
            self.log.cut_after(self.step)
        logger.info("resumed at step %d (%.1f min)", self.step, self.clock.elapsed / 60)

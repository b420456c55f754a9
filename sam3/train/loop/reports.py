"""What a run writes about itself: curves, and one JSON line per epoch and validation."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ..optim.optimizer import Optimizer
from ..utils.logger import TensorBoardLogger, close_logging, setup_logging
from .building import build
from .conf import LoggingConf
from .log import JsonLinesLog

TRAIN_STATS, VAL_STATS, BEST_STATS = "train_stats", "val_stats", "best_stats"


class RunReports:
    """``log.txt``, ``train_stats.json``, ``val_stats.json``, ``best_stats.json``, TensorBoard, W&B.

    Args:
        rank: of this process; 0 is the only one that writes.
    """

    def __init__(self, conf: LoggingConf, rank: int) -> None:
        setup_logging(conf.log_dir, rank, conf.log_level_primary, conf.log_level_secondary)
        self.conf = conf
        self.leads = leads = rank == 0
        self.curves = (build(conf.tensorboard_writer) if leads else None) or TensorBoardLogger()
        self.wandb = build(conf.wandb_writer) if leads else None
        self._files: dict[str, JsonLinesLog] = {}
        if leads:
            folder = Path(conf.log_dir)
            names = (TRAIN_STATS, VAL_STATS, BEST_STATS)
            self._files = {name: JsonLinesLog(folder / f"{name}.json") for name in names}

    def line(self, name: str, step: int, values: Mapping[str, Any]) -> None:
        """Append a line to ``<name>.json``; ``step`` counts steps of training."""
        if self.leads:
            self._files[name].write(step, **values)
            self.log(values, step)

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """A point of every curve that has a number in ``values``."""
        numbers = {k: float(v) for k, v in values.items() if isinstance(v, (int, float))}
        self.curves.log_dict(numbers, step)
        if self.wandb is not None:
            self.wandb.log(numbers, step=step)

    def log_step(
        self, losses: Mapping[str, float], optim: Optimizer, where: float, epoch: int, step: int
    ) -> None:
        """Points of a step of training: losses, options of the optimiser, place in the run."""
        values: dict[str, float] = {f"Step_Losses/train_{k}": v for k, v in losses.items()}
        for number, (group, options) in enumerate(
            zip(optim.optimizer.param_groups, optim.schedulers, strict=False)
        ):
            values |= {f"Optim/{number}_/{option}": group[option] for option in options}
        self.log({**values, "Trainer/where": where, "Trainer/epoch": epoch}, step)

    def wants(self, phase: str, loss: str) -> bool:
        """Whether the loss of that name (``<key>_<name>``) is to be logged."""
        chosen = self.conf.scalar_keys_to_log
        if chosen is None:
            return True
        patterns = chosen.get(phase, ())
        patterns = getattr(patterns, "keys_to_log", patterns)
        return any(fnmatchcase(loss, f"*{pattern}") for pattern in patterns)

    def cut_after(self, step: int, validated: bool) -> None:
        """Drop what an interrupted run wrote about later steps.

        validated: whether the validation after ``step`` is kept.
        """
        for name, file in self._files.items():
            file.cut_after(step if validated or name == TRAIN_STATS else step - 1)

    def close(self) -> None:
        """Write what is left."""
        self.curves.close()
        close_logging()

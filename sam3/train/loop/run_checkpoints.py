"""Checkpoints of the trainer: what they hold, when they are kept, how a run goes on from one."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import CheckpointMismatchError, InputError
from ...perflib.distributed import Collective
from ..utils.checkpoint_utils import (
    check_skipped_are_frozen,
    load_model_state,
    unchanged_parameters,
    without_matching,
)
from .building import build
from .checkpoints import CheckpointStore
from .components import Components
from .conf import CheckpointConf
from .environment import random_states
from .position import RunPosition

_log = logging.getLogger(__name__)

NAME, PREVIOUS = "checkpoint.pt", "checkpoint_previous.pt"


class RunCheckpoints:
    """Saves and restores everything a run needs; only process 0 writes.

    A checkpoint is a dict: ``model``, ``optimizer``, ``epoch`` (finished ones), ``loss``,
    ``steps``, ``time_elapsed``, ``best_meter_values``, ``scaler`` (with mixed precision), ``ema``
    (with averaged weights), and ``position``: the place within the epoch with the random states
    of all processes.
    """

    def __init__(
        self, conf: CheckpointConf, parts: Components, ranks: Collective, enabled: bool = True
    ) -> None:
        self.conf = conf
        self.parts = parts
        self.ranks = ranks
        self.enabled = enabled
        self.store = CheckpointStore(Path(conf.save_dir), NAME, PREVIOUS)

    # ---- saving -----------------------------------------------------------------------------

    def save(self, position: RunPosition, elapsed: float, pending: Mapping[str, Any]) -> None:
        """Write ``checkpoint.pt``, at the end of an epoch also the copies that are to be kept."""
        if not self.enabled:
            return
        copies = []
        if position.step == 0 and self._keeps(position.epoch):
            copies.append(f"checkpoint_{position.epoch}.pt")
        state = self._state(position, elapsed, pending)
        if state is not None:
            self.store.save(state, copies)

    def save_best(
        self, metric: str, position: RunPosition, elapsed: float, pending: Mapping[str, Any]
    ) -> None:
        """Write ``checkpoint_best_<metric>.pt``."""
        if not self.enabled:
            return
        state = self._state(position, elapsed, pending)
        if state is not None:
            name = re.sub(r"[^\w.@-]+", "_", metric)
            self.store.save_aside(state, f"checkpoint_best_{name}.pt")

    def _keeps(self, epoch: int) -> bool:
        every = self.conf.save_freq
        return (every > 0 and epoch % every == 0) or epoch in self.conf.save_list

    def _state(
        self, position: RunPosition, elapsed: float, pending: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """The dict to write, None in all processes but 0."""
        everyone = self.ranks.gather_objects(random_states())
        if everyone is None or self.parts.optim is None:
            return None
        parts = self.parts
        state: dict[str, Any] = {
            "model": without_matching(parts.model.state_dict(), self.conf.skip_saving_parameters),
            "optimizer": parts.optim.optimizer.state_dict(),
            "epoch": position.epoch,
            "loss": parts.losses.state_dict(),
            "steps": dict(position.steps),
            "time_elapsed": elapsed,
            "best_meter_values": dict(position.best),
            "position": {"step": position.step, "random": everyone, "pending": dict(pending)},
        }
        if parts.scaler.is_enabled():
            state["scaler"] = parts.scaler.state_dict()
        if parts.ema is not None:
            state["ema"] = parts.ema.state_dict()
        return state

    # ---- starting ---------------------------------------------------------------------------

    def begin(self) -> dict[str, Any] | None:
        """Set the weights the run starts with; the checkpoint it goes on from, if there is one.

        Raises:
            InputError: parameters that are left out of checkpoints would be lost.
            CheckpointFormatError: there are checkpoints, but none can be read.
            CheckpointMismatchError: the checkpoint is of another model or optimiser.
        """
        self._copy_resume_from()
        state = self.store.load()
        model, skipped = self.parts.model, self.conf.skip_saving_parameters
        if state is None:
            check_skipped_are_frozen(model, skipped)
            again = bool(self.conf.initialize_after_preemption)
            with unchanged_parameters(model, skipped, disabled=again):
                self._initialise()
            return None
        if self.conf.initialize_after_preemption:
            self._initialise()
        load_model_state(model, state["model"], skipped, str(self.store.latest))
        if self.parts.optim is not None:
            self._load_training(state)
        return state

    def _copy_resume_from(self) -> None:
        """Bring ``resume_from`` into the folder where that holds no checkpoint."""
        source, folder = self.conf.resume_from, self.store.folder
        if source is None or self.store.latest.exists() or self.store.previous.exists():
            self.ranks.barrier()
            return
        if not Path(source).is_file():
            raise InputError(f"checkpoint.resume_from: there is no file {source}")
        if self.ranks.rank == 0:
            folder.mkdir(parents=True, exist_ok=True)
            temporary = folder / f"{NAME}.tmp"
            shutil.copyfile(source, temporary)
            temporary.replace(self.store.latest)
        self.ranks.barrier()

    def _initialise(self) -> None:
        initialiser = build(self.conf.model_weight_initializer)
        if initialiser is None:
            return
        if initialiser(self.parts.model) not in (self.parts.model, None):
            raise InputError(
                "checkpoint.model_weight_initializer must set the weights of the model it gets "
                "and return that model, not another one"
            )
        if self.parts.ema is not None:
            self.parts.ema.restart()

    def _load_training(self, state: Mapping[str, Any]) -> None:
        parts = self.parts
        assert parts.optim is not None  # the caller's check
        try:
            parts.optim.optimizer.load_state_dict(state["optimizer"])
            parts.losses.load_state_dict(state["loss"], strict=True)
        except (RuntimeError, ValueError) as error:
            raise CheckpointMismatchError(
                f"{self.store.latest} is of another optimiser or loss: use a new output folder, "
                f"checkpoint.save_dir ({error})"
            ) from error
        if "scaler" in state and parts.scaler.is_enabled():
            parts.scaler.load_state_dict(state["scaler"])
        if parts.ema is not None and "ema" in state:
            parts.ema.load_state_dict(state["ema"])
        elif parts.ema is not None:
            parts.ema.restart()

"""Checkpoints that survive a kill at any moment: the latest one and the one before."""

from __future__ import annotations

import logging
import os
import pickle
from pathlib import Path
from typing import Any

import torch

from ...errors import CheckpointFormatError

logger = logging.getLogger(__name__)


class CheckpointStore:
    """``latest.pt`` and ``previous.pt`` in a folder, each complete or absent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.latest = folder / "latest.pt"
        self.previous = folder / "previous.pt"

    def save(self, state: dict[str, Any]) -> Path:
        """Write ``state`` as the latest checkpoint; the former one becomes the previous.

        ``state`` may hold tensors, numbers, strings, lists and dicts. Returns the path.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / "latest.pt.tmp"
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        if self.latest.exists():
            os.replace(self.latest, self.previous)
        os.replace(temporary, self.latest)
        return self.latest

    def load(self) -> dict[str, Any] | None:
        """The newest readable checkpoint, on the CPU; None if there is none at all.

        Raises:
            CheckpointFormatError: there are files, but none can be read.
        """
        broken: list[str] = []
        for path in (self.latest, self.previous):
            if not path.exists():
                continue
            try:
                state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
                logger.warning("%s cannot be read (%s)", path, error)
                broken.append(path.name)
                continue
            return state
        if broken:
            raise CheckpointFormatError(
                f"no readable checkpoint in {self.folder}: {', '.join(broken)} damaged; "
                "start again in another folder, or delete these files"
            )
        return None

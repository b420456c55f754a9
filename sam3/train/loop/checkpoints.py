"""Checkpoints that survive a kill at any moment: the latest one and the one before."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from ...errors import CheckpointFormatError

logger = logging.getLogger(__name__)


class CheckpointStore:
    """Two files in a folder, the latest checkpoint and the previous one, each whole or absent.

    Args:
        folder: made when something is saved.
        latest, previous: names of the files.
    """

    def __init__(
        self, folder: Path, latest: str = "latest.pt", previous: str = "previous.pt"
    ) -> None:
        self.folder = folder
        self.latest = folder / latest
        self.previous = folder / previous

    def save(self, state: dict[str, Any], copies: Iterable[str] = ()) -> Path:
        """Write ``state`` as the latest checkpoint; the former one becomes the previous.

        ``state`` may hold tensors, numbers, strings, lists and dicts. ``copies`` names further
        files in the folder that get the same. Returns the path of the latest.
        """
        temporary = self._write(state, self.latest.name)
        for name in copies:
            copy = self.folder / f"{name}.tmp"
            shutil.copyfile(temporary, copy)
            _flush(copy)
            os.replace(copy, self.folder / name)
        if self.latest.exists():
            os.replace(self.latest, self.previous)
        os.replace(temporary, self.latest)
        return self.latest

    def save_aside(self, state: dict[str, Any], name: str) -> Path:
        """Write ``state`` under another name; the latest checkpoint stays. Returns the path."""
        path = self.folder / name
        os.replace(self._write(state, name), path)
        return path

    def _write(self, state: dict[str, Any], name: str) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f"{name}.tmp"
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        return temporary

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


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())

"""Data sets of a run, and their batches from any place in an epoch."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from ...errors import InputError
from .building import build

TRAIN, VAL = "train", "val"
NEEDED = {"train": (TRAIN, VAL), "train_only": (TRAIN,), "val": (VAL,)}


def build_data(conf: Any, mode: str) -> dict[str, Any]:
    """The data sets that a mode needs, by phase. Raises InputError if one is missing."""
    found: dict[str, Any] = {}
    for phase in NEEDED[mode]:
        part = None if conf is None else conf.get(phase)
        if part is None:
            raise InputError(f"mode {mode!r} needs data.{phase}")
        found[phase] = build(part)
        if not hasattr(found[phase], "get_loader"):
            raise InputError(
                f"data.{phase} must have get_loader(epoch), like "
                f"sam3.train.data.torch_dataset.TorchDataset; got {type(found[phase]).__name__}"
            )
    return found


class EpochBatches:
    """The batches of an epoch from ``first`` on.

    Loaders that can start anywhere (``get_loader(epoch, first_batch=...)``) do so; of others the
    first batches are read and dropped. ``total`` counts all batches of the epoch.
    """

    def __init__(self, data: Any, epoch: int, first: int = 0) -> None:
        starts = "first_batch" in inspect.signature(data.get_loader).parameters
        if starts:
            loader = data.get_loader(epoch=epoch, first_batch=first)
            self.total = len(loader) + first
        else:
            loader = data.get_loader(epoch=epoch)
            self.total = len(loader)
        self._loader: Iterable[Any] = loader
        self._dropped = 0 if starts else first

    def __len__(self) -> int:
        return self.total

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self._loader)
        for _ in islice(batches, self._dropped):
            pass
        return batches


def describe_samples(data: Any, epoch: int, number: int) -> str:
    """Which samples batch ``number`` of an epoch holds, for messages; "" where nobody knows."""
    if not hasattr(data, "sample_indices"):
        return ""
    indices = data.sample_indices(epoch, number)
    text = f", samples {indices}"
    ids_of = getattr(data.dataset, "image_ids", None)
    if ids_of is not None:
        text += f" with image ids {[i for index in indices for i in ids_of(index)]}"
    return text

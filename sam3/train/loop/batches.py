"""Where batches come from, and processes that make them ahead of time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any, Protocol

from torch.utils.data import DataLoader, Dataset

AHEAD = 4  # batches that each process may be ahead


class BatchSource(Protocol):
    """Where batches come from."""

    def batch(self, number: int, progress: float) -> Any:
        """Batch ``number`` (from 0), at ``progress`` in [0, 1] of the training."""
        ...


def batches_ahead(source: BatchSource, workers: int, stride: int = 1) -> BatchSource:
    """``source`` itself, or with ``workers`` > 0 one whose batches are made by processes.

    stride: distance between the numbers that will be asked for; any other number starts the
    processes anew. A batch made ahead sees the progress of the time when its making began.
    """
    return BatchesAhead(source, workers, stride) if workers else source


class BatchesAhead:
    """See :func:`batches_ahead`."""

    def __init__(self, source: BatchSource, workers: int, stride: int = 1) -> None:
        self.source, self.workers, self.stride = source, workers, stride
        self._progress = 0.0
        self._next: int | None = None
        self._batches: Iterator[Any] = iter(())

    def batch(self, number: int, progress: float) -> Any:
        """Batch ``number``; waits if no process has finished it yet."""
        self._progress = progress
        if number != self._next:
            self._batches = self._start(number)
        self._next = number + self.stride
        return next(self._batches)

    def _start(self, first: int) -> Iterator[Any]:
        loader: DataLoader[Any] = DataLoader(
            _Numbered(self.source),
            batch_size=None,
            sampler=self._numbers(first),  # type: ignore[arg-type]
            num_workers=self.workers,
            prefetch_factor=AHEAD,
            collate_fn=_as_it_is,
        )
        return iter(loader)

    def _numbers(self, first: int) -> Iterator[tuple[int, float]]:
        for number in count(first, self.stride):
            yield number, self._progress


class _Numbered(Dataset):
    """A source by (number, progress), as a data loader asks."""

    def __init__(self, source: BatchSource) -> None:
        self.source = source

    def __getitem__(self, index: tuple[int, float]) -> Any:
        return self.source.batch(*index)


def _as_it_is(batch: Any) -> Any:
    return batch

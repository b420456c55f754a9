"""Loaders whose batches depend on (seed, epoch, number) alone.

The order of samples, and every random number that a sample draws, follow from the seed, the epoch
and the sample's place. So a run resumed in the middle of an epoch sees the batches it would have
seen, with any number of workers, and P processes share the batches of one with P times the size.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import torch
import torch.distributed
from torch.utils.data import BatchSampler, DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from ...errors import InputError


class TorchDataset:
    """A data set with the settings of its loader.

    Args:
        dataset: map-style; told the epoch by ``set_epoch`` if it has one.
        batch_size: samples per batch and process.
        num_workers: processes that read samples, 0 = none.
        shuffle: a new order in every epoch.
        pin_memory: copy batches to page-locked memory, where there is a GPU.
        drop_last: leave out what does not fill a batch in every process; otherwise some samples
            are read twice, so that all processes make the same number of steps.
        collate_fn: samples -> batch.
        worker_init_fn: called with the number of each worker as it starts.
        enable_distributed_sampler: split the samples over processes; otherwise each reads all.
        seed: of the order and of the samples' random numbers.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        batch_size: int,
        num_workers: int,
        shuffle: bool,
        pin_memory: bool,
        drop_last: bool,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        worker_init_fn: Callable[[int], None] | None = None,
        enable_distributed_sampler: bool = True,
        seed: int = 0,
    ) -> None:
        """Raises InputError for a batch size below 1 or more than the data set has samples."""
        size = len(dataset)  # type: ignore[arg-type]  # map-style data sets have a length
        if not 1 <= batch_size or (drop_last and size < batch_size):
            raise InputError(
                f"batch_size must be 1 to the {size} samples of the data set, got {batch_size}; "
                "with drop_last=False it may be larger"
            )
        self.dataset = dataset
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.shuffle = shuffle
        self.pin_memory = pin_memory
        self.drop_last = drop_last
        self.collate_fn = collate_fn
        self.worker_init_fn = worker_init_fn
        self.enable_distributed_sampler = enable_distributed_sampler
        self.seed = seed

    def get_loader(self, epoch: int, first_batch: int = 0) -> DataLoader[Any]:
        """The batches of one epoch, from ``first_batch`` on."""
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)
        batches = BatchSampler(self._sampler(epoch), self.batch_size, self.drop_last)
        return DataLoader(
            _RepeatableSamples(self.dataset, self.seed, epoch),
            batch_sampler=_From(batches, first_batch),
            num_workers=self.num_workers,
            pin_memory=self.pin_memory and torch.cuda.is_available(),
            collate_fn=self.collate_fn,
            worker_init_fn=self.worker_init_fn,
        )

    def sample_indices(self, epoch: int, number: int) -> list[int]:
        """Places in the data set of the samples in batch ``number`` of this process."""
        batches = BatchSampler(self._sampler(epoch), self.batch_size, self.drop_last)
        return next(islice(batches, number, None))

    def _sampler(self, epoch: int) -> DistributedSampler[Any]:
        split = self.enable_distributed_sampler and (
            torch.distributed.is_available() and torch.distributed.is_initialized()
        )
        sampler: DistributedSampler[Any] = DistributedSampler(
            self.dataset,
            num_replicas=torch.distributed.get_world_size() if split else 1,
            rank=torch.distributed.get_rank() if split else 0,
            shuffle=self.shuffle,
            seed=self.seed,
            drop_last=self.drop_last,
        )
        sampler.set_epoch(epoch)
        return sampler


class _From(BatchSampler):
    """The batches of another sampler without the first ones, which are never read."""

    def __init__(self, batches: BatchSampler, first: int) -> None:
        self.batches = batches
        self.first = first

    def __iter__(self) -> Iterator[list[int]]:
        for number, batch in enumerate(self.batches):
            if number >= self.first:
                yield batch

    def __len__(self) -> int:
        return max(len(self.batches) - self.first, 0)


class _RepeatableSamples(Dataset[Any]):
    """Samples whose random numbers depend on (seed, epoch, index) only."""

    def __init__(self, dataset: Dataset[Any], seed: int, epoch: int) -> None:
        self.dataset = dataset
        self.seed = seed
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Any:
        with seeded_random_numbers((self.seed, self.epoch, index)):
            return self.dataset[index]


@contextmanager
def seeded_random_numbers(key: Sequence[int]) -> Iterator[None]:
    """Seed Python's, numpy's and torch's (CPU) random numbers; afterwards they go on as before.

    key: numbers of at least 0.
    """
    python, numpy, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seed = int(np.random.SeedSequence(list(key)).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    # Not torch.manual_seed, which also reaches the accelerator.
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(torch_state)

"""Loaders: order, repeatability, resuming inside an epoch, sharing among processes."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from sam3.errors import InputError
from sam3.train.data.torch_dataset import TorchDataset, seeded_random_numbers


class Noisy(Dataset):
    """Sample n is (n, epoch, three random numbers)."""

    epoch = -1

    def __init__(self, size: int = 10) -> None:
        self.size = size

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        draws = random.random(), float(np.random.rand()), torch.rand(1).item()
        return (index, self.epoch, *draws)


def make(size: int = 10, **options: Any) -> TorchDataset:
    defaults: dict[str, Any] = {
        "batch_size": 3,
        "num_workers": 0,
        "shuffle": True,
        "pin_memory": True,
        "drop_last": False,
        "collate_fn": list,
    }
    return TorchDataset(Noisy(size), **{**defaults, **options})


def read(source: TorchDataset, epoch: int, first: int = 0) -> list[list[tuple[Any, ...]]]:
    return list(source.get_loader(epoch, first))


def test_an_epoch_reads_every_sample_once_in_a_new_order() -> None:
    source = make()
    orders = [[s[0] for batch in read(source, epoch) for s in batch] for epoch in range(3)]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert {s[1] for batch in read(source, 2) for s in batch} == {2}


def test_without_shuffling_the_order_is_the_set_s() -> None:
    batches = read(make(shuffle=False), 5)
    assert [[s[0] for s in batch] for batch in batches] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    assert len(make(shuffle=False).get_loader(0)) == 4
    assert len(read(make(drop_last=True), 0)) == len(make(drop_last=True).get_loader(0)) == 3


def test_batches_depend_on_seed_and_epoch_only() -> None:
    first = read(make(), 1)
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    assert read(make(), 1) == first
    assert read(make(seed=1), 1) != first
    draws = [s[2:] for batch in first for s in batch]
    assert len(set(draws)) == 10
    again = {s[0]: s[2:] for batch in read(make(), 2) for s in batch}
    assert all(again[s[0]] != s[2:] for batch in first for s in batch)


def test_a_resumed_epoch_goes_on_with_the_same_batches() -> None:
    whole = read(make(), 4)
    for first in range(len(whole) + 1):
        loader = make().get_loader(4, first)
        assert list(loader) == whole[first:] and len(loader) == len(whole) - first


def test_workers_change_nothing() -> None:
    assert read(make(num_workers=2), 3) == read(make(), 3)


def test_other_random_numbers_go_on_as_if_nothing_was_read() -> None:
    def numbers() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), torch.rand(1).item()

    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    wanted = numbers()
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    with seeded_random_numbers((0, 1)):
        inside = numbers()
    assert numbers() == wanted and inside != wanted
    with pytest.raises(ZeroDivisionError), seeded_random_numbers((0, 1)):
        assert numbers() == inside
        _ = 1 / 0


@pytest.mark.parametrize("shuffle", [True, False])
def test_processes_share_the_batches_of_one(shuffle: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = read(make(12, batch_size=4, shuffle=shuffle), 2)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    parts = []
    for rank in range(2):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        parts.append(read(make(12, batch_size=2, shuffle=shuffle), 2))
        together = read(
            make(12, batch_size=4, shuffle=shuffle, enable_distributed_sampler=False), 2
        )
        assert together == alone
    for batch, first, second in zip(alone, *parts, strict=True):
        assert sorted(batch) == sorted(first + second)


def test_worker_start_is_told() -> None:
    def start(number: int) -> None:
        torch.utils.data.get_worker_info().dataset.dataset.size = 100 + number

    class Sized(Noisy):
        def __getitem__(self, index: int) -> int:
            return self.size

    source = TorchDataset(Sized(4), 1, 2, False, False, False, worker_init_fn=start)
    assert {int(batch) for batch in source.get_loader(0)} == {100, 101}


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"batch_size": 11, "drop_last": True}])
def test_impossible_batch_sizes_are_an_error(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="batch_size must be 1 to the 10 samples"):
        make(**options)

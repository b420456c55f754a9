"""Batches that processes make ahead of time."""

from __future__ import annotations

import pytest
import torch

from sam3.errors import InputError
from sam3.train.loop.batches import batches_ahead
from sam3.train.loop.config import TrainConfig


class Numbers:
    """Batches that say their number; the first one has to wait."""

    def batch(self, number: int, progress: float) -> torch.Tensor:
        return torch.tensor([number, progress], dtype=torch.float64)


def test_without_processes_the_source_stays_as_it_is() -> None:
    source = Numbers()
    assert batches_ahead(source, 0) is source


def test_batches_come_in_the_order_of_their_numbers() -> None:
    source = batches_ahead(Numbers(), workers=2, stride=3)
    found = [float(source.batch(number, 0.25)[0]) for number in (4, 7, 10, 13, 16, 19)]
    assert found == [4, 7, 10, 13, 16, 19]


def test_another_number_starts_anew() -> None:
    source = batches_ahead(Numbers(), workers=1)
    assert [float(source.batch(number, 0.5)[0]) for number in (0, 1, 9, 10, 3)] == [0, 1, 9, 10, 3]


def test_progress_is_that_of_the_asking() -> None:
    source = batches_ahead(Numbers(), workers=1)
    assert float(source.batch(0, 0.25)[1]) == 0.25


def test_a_negative_number_of_workers_is_refused() -> None:
    with pytest.raises(InputError, match="workers"):
        TrainConfig(steps=1, workers=-1)

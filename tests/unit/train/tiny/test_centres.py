"""Cells of one object name one place, those of another a different one."""

from __future__ import annotations

import math

import pytest
import torch

from sam3.train.tiny.centres import ANSWERS, WAVES, centre_loss, centre_targets


@pytest.fixture
def objects() -> torch.Tensor:
    """An object of 4 cells in a corner that touches one of 8."""
    found = torch.zeros(1, 8, 8, dtype=torch.uint8)
    found[0, :2, :2], found[0, :2, 2:6] = 1, 2
    return found


def test_all_cells_of_an_object_name_its_middle(objects: torch.Tensor) -> None:
    told = centre_targets(objects)
    assert told.shape == (1, ANSWERS, 8, 8)
    x, y = 4 / 8, 1 / 8  # of the second object
    angles = [2 * math.pi * wave * place for wave in WAVES for place in (x, y)]
    wanted = torch.tensor([math.cos(a) for a in angles] + [math.sin(a) for a in angles])
    torch.testing.assert_close(told[0, :, 0, 2], wanted)
    torch.testing.assert_close(told[0, :, 1, 5], wanted)
    assert not told[0, :, objects[0] == 0].any()


def test_products_tell_touching_objects_apart(objects: torch.Tensor) -> None:
    told = centre_targets(objects)[0].flatten(1)
    same = told.T @ told / (ANSWERS / 2)
    first, second = (objects.flatten() == k for k in (1, 2))
    assert same[first][:, first].min() > 0.999 and same[second][:, second].min() > 0.999
    assert same[first][:, second].max() < 0.5


def test_right_answers_cost_nothing_and_none_costs_one(objects: torch.Tensor) -> None:
    weights = torch.where(objects == 1, 2.0, 1.0)
    wanted = centre_targets(objects)
    assert [round(float(v), 5) for v in centre_loss(wanted, objects, weights)] == [0.0, 1.0]
    cost, agreement = centre_loss(torch.zeros_like(wanted), objects, weights)
    assert cost.item() == pytest.approx(1.0) and agreement.item() == 0.0
    half = torch.where(objects[:, None] == 1, wanted, torch.zeros(()))
    assert centre_loss(half, objects, weights)[0].item() == pytest.approx(0.5)


def test_pictures_without_objects_cost_nothing() -> None:
    nothing = torch.zeros(2, 4, 4, dtype=torch.uint8)
    answers = torch.randn(2, ANSWERS, 4, 4, requires_grad=True)
    cost, agreement = centre_loss(answers, nothing, torch.ones(2, 4, 4))
    cost.backward()
    assert cost.item() == 0 and agreement.item() == 0 and not answers.grad.any()

"""Features that name the middle of their object cost nothing, wherever they are read."""

from __future__ import annotations

import pytest
import torch

from sam3.train.tiny.centres import ANSWERS, centre_targets, pick_cells
from sam3.train.tiny.tracking.grouping import FINE_WAVES, grouping_loss


@pytest.fixture
def objects() -> torch.Tensor:
    found = torch.zeros(2, 32, 32, dtype=torch.uint8)
    found[0, :16, :16], found[0, 16:, 8:24] = 1, 2
    found[1, 8:, :24] = 1
    return found


def _right(objects: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
    fine = centre_targets(pick_cells(objects, 16), FINE_WAVES)
    middle = centre_targets(pick_cells(objects, 8))
    free = torch.full((2, 4, 8, 8), 7.0)  # channels beyond the waves are the decoder's own
    levels = [torch.cat([fine, -fine], 1), torch.cat([middle, free], 1)]
    return levels, centre_targets(pick_cells(objects, 4))


def test_cells_show_the_object_at_their_middle(objects: torch.Tensor) -> None:
    cells = pick_cells(objects, 4)
    assert cells.shape == (2, 4, 4)
    assert cells[0].tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 2, 2, 0], [0, 2, 2, 0]]


def test_right_levels_cost_nothing_and_each_wrong_one_something(objects: torch.Tensor) -> None:
    levels, answers = _right(objects)
    assert grouping_loss(levels, answers, objects).item() < 1e-9
    for wrong in (
        ([-levels[0], levels[1]], answers),
        ([levels[0], -levels[1]], answers),
        (levels, -answers),
    ):
        assert grouping_loss(*wrong, objects).item() > 0.1


def test_small_objects_weigh_as_much_as_large_ones() -> None:
    objects = torch.zeros(1, 16, 16, dtype=torch.uint8)
    objects[0, :4, :4], objects[0, 8:, :] = 1, 2
    fine = centre_targets(objects, FINE_WAVES)
    right = [torch.cat([fine, -fine], 1), centre_targets(pick_cells(objects, 8))]
    answers = centre_targets(pick_cells(objects, 4))
    costs = []
    for k in (1, 2):
        wrong = torch.where(objects[:, None] == k, -right[0], right[0])
        costs.append(grouping_loss([wrong, right[1]], answers, objects).item())
    assert costs[0] == pytest.approx(costs[1], rel=1e-5)


def test_pictures_without_objects_ask_for_silence() -> None:
    nothing = torch.zeros(1, 16, 16, dtype=torch.uint8)
    levels = [torch.zeros(1, 8, 16, 16), torch.zeros(1, 16, 8, 8)]
    answers = torch.zeros(1, ANSWERS, 4, 4)
    assert grouping_loss(levels, answers, nothing).item() == 0
    assert grouping_loss([levels[0] + 1, levels[1]], answers, nothing).item() > 0
    assert grouping_loss(levels, answers + 1, nothing).item() > 0

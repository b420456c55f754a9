"""Pairs of cells: what kind each is, and what their loss asks for."""

from __future__ import annotations

import pytest
import torch

from sam3.train.tiny.boundaries import OFFSETS, pair_loss, pair_targets


@pytest.fixture
def objects() -> torch.Tensor:
    """Two objects side by side below a strip of background: [1, 8, 8]."""
    cells = torch.zeros(1, 8, 8, dtype=torch.uint8)
    cells[:, 2:, :4], cells[:, 2:, 4:] = 1, 2
    return cells


def test_kinds_agree_with_a_look_at_each_pair(objects: torch.Tensor) -> None:
    same, kind = pair_targets(objects)
    grid = objects[0].tolist()
    for p, (down, right) in enumerate(OFFSETS):
        for y in range(8):
            for x in range(8):
                inside = 0 <= y + down < 8 and 0 <= x + right < 8
                found = int(kind[0, p, y, x])
                if not inside:
                    assert found == -1
                    continue
                a, b = grid[y][x], grid[y + down][x + right]
                wanted = (1 if a else 0) if a == b else (3 if a and b else 2)
                assert found == wanted and bool(same[0, p, y, x]) == (a == b)


def test_right_answers_cost_nothing(objects: torch.Tensor) -> None:
    same, _ = pair_targets(objects)
    loss, right = pair_loss(40.0 * same - 20, objects)
    assert float(loss) < 1e-6 and float(right) == 1
    loss, right = pair_loss(20 - 40.0 * same, objects)
    assert float(loss) == pytest.approx(20, abs=1e-3) and float(right) == 0


def test_kinds_weigh_alike_however_often_they_occur(objects: torch.Tensor) -> None:
    same, kind = pair_targets(objects)
    logits = 40.0 * same - 20
    wrong_rim = torch.where(kind == 2, -logits, logits)
    wrong_objects = torch.where(kind == 3, -logits, logits)
    assert (kind == 2).sum() != (kind == 3).sum()
    assert float(pair_loss(wrong_rim, objects)[0]) == pytest.approx(5, abs=1e-3)
    assert float(pair_loss(wrong_objects, objects)[0]) == pytest.approx(5, abs=1e-3)


def test_an_empty_picture_has_a_finite_loss() -> None:
    logits = torch.zeros(1, len(OFFSETS), 4, 4, requires_grad=True)
    loss, right = pair_loss(logits, torch.zeros(1, 4, 4, dtype=torch.uint8))
    loss.backward()
    assert torch.isfinite(loss) and float(right) == 0 and torch.isfinite(logits.grad).all()

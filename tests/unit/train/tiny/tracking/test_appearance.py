"""One feature for each object, another one for each neighbour."""

from __future__ import annotations

import pytest
import torch

from sam3.train.tiny.tracking.appearance import MARGIN, RADIUS, appearance_loss


@pytest.fixture
def masks() -> torch.Tensor:
    """Two objects of one picture and a third one of another: [3, 8, 8]."""
    masks = torch.zeros(3, 8, 8)
    masks[0, :, :4], masks[1, :, 4:], masks[2, 2:6, 2:6] = 1, 1, 1
    return masks


CLIPS = torch.tensor([0, 0, 1])


def features(masks: torch.Tensor, *vectors: list[float]) -> torch.Tensor:
    """Each object has its vector everywhere: [2, D, 8, 8]."""
    found = torch.zeros(2, len(vectors[0]), 8, 8)
    for mask, clip, vector in zip(masks, CLIPS, vectors, strict=True):
        found[clip] += mask * torch.tensor(vector)[:, None, None]
    return found


def test_own_features_cost_nothing_and_shared_ones_the_margin(masks: torch.Tensor) -> None:
    apart = features(masks, [MARGIN, 0.0], [0.0, 0.0], [0.0, 0.0])
    assert appearance_loss(apart, masks, CLIPS).item() < 1e-5  # other pictures may look alike
    alike = features(masks, [0.0, 1.0], [0.0, 1.0], [0.0, 0.0])
    assert appearance_loss(alike, masks, CLIPS).item() == pytest.approx(MARGIN**2, rel=1e-2)


def test_cells_far_from_their_mean_cost_by_the_square(masks: torch.Tensor) -> None:
    found = features(masks, [5.0, 0.0], [0.0, 0.0], [0.0, 0.0])
    found[1, :, 2:4, 2:6], found[1, :, 4:6, 2:6] = 1.0, -1.0
    wanted = (2**0.5 - RADIUS) ** 2 / 3  # one object of three
    assert appearance_loss(found, masks, CLIPS).item() == pytest.approx(wanted, rel=1e-3)


def test_cells_that_show_two_things_do_not_count(masks: torch.Tensor) -> None:
    found = features(masks, [5.0, 0.0], [0.0, 0.0], [0.0, 0.0])
    before = appearance_loss(found, masks, CLIPS)
    masks[0, :, 4], masks[1, :, 4] = 0.3, 0.7
    found[0, :, :, 4] = 99.0
    assert appearance_loss(found, masks, CLIPS) == before


def test_nothing_to_see_and_equal_features_have_finite_gradients(masks: torch.Tensor) -> None:
    found = torch.zeros(2, 3, 8, 8, requires_grad=True)
    for shown in (torch.zeros_like(masks), masks):
        (gradient,) = torch.autograd.grad(appearance_loss(found, shown, CLIPS), found)
        assert torch.isfinite(gradient).all()

"""The three overlap rules against golden arrays, and their edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sam3.errors import InputError
from sam3.model.tracker.overlap import (
    apply_non_overlapping_constraints,
    apply_object_wise_non_overlapping,
    suppress_object_area_shrinkage,
    suppress_shrinked_masks,
)
from tests.support.golden import load


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    return load("tracker/logic.npz")


@pytest.fixture(scope="module")
def masks(golden: dict[str, np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(golden["overlap.in"])


def test_rules_match_golden(golden: dict[str, np.ndarray], masks: torch.Tensor) -> None:
    scores = torch.from_numpy(golden["overlap.scores"])
    for key, actual in {
        "pixel": apply_non_overlapping_constraints(masks),
        "shrink": suppress_object_area_shrinkage(masks),
        "object": apply_object_wise_non_overlapping(masks, scores),
    }.items():
        np.testing.assert_array_equal(actual.numpy(), golden[f"overlap.{key}"], err_msg=key)


def test_bool_masks_match_golden(golden: dict[str, np.ndarray], masks: torch.Tensor) -> None:
    scores = torch.from_numpy(golden["overlap.scores"])
    shape = tuple(golden["overlap.object_bool.shape"])
    bits = np.unpackbits(golden["overlap.object_bool.bits"])[: np.prod(shape)]
    actual = apply_object_wise_non_overlapping(masks > 0, scores, 0.0)
    assert actual.dtype == torch.bool
    np.testing.assert_array_equal(actual.numpy(), bits.reshape(shape).astype(bool))


def test_one_object_has_no_rivals() -> None:
    mask = torch.full((1, 1, 4, 4), -3.0)
    mask[..., :2] = 5.0
    assert torch.equal(apply_non_overlapping_constraints(mask), mask)
    assert torch.equal(suppress_object_area_shrinkage(mask), mask)
    kept = apply_object_wise_non_overlapping(mask, torch.tensor([[0.5]]))
    assert torch.equal(kept, torch.where(mask > 0, mask, -10.0))


def test_first_row_wins_a_tie() -> None:
    out = apply_non_overlapping_constraints(torch.full((3, 1, 2, 2), 4.0))
    assert torch.equal(out[:, 0, 0, 0], torch.tensor([4.0, -10.0, -10.0]))


def test_a_score_of_zero_loses_everything() -> None:
    mask = torch.ones(2, 1, 3, 3, dtype=torch.bool)
    mask[1] = False
    assert not apply_object_wise_non_overlapping(mask, torch.tensor([[0.0], [0.9]]), 0.0).any()


@pytest.mark.parametrize(("width", "suppressed"), [(2, True), (3, False), (9, False)])
def test_suppress_shrinked_masks_below_three_tenths(width: int, suppressed: bool) -> None:
    before = torch.full((1, 1, 4, 10), 6.0)
    after = torch.full_like(before, -1.0)
    after[..., :width] = 6.0
    out = suppress_shrinked_masks(before, after)
    expected = after.clamp(max=-10.0) if suppressed else after
    assert torch.equal(out, expected)


def test_an_empty_mask_counts_as_shrunk() -> None:
    empty = torch.full((1, 1, 4, 4), -1.0)
    assert torch.equal(suppress_shrinked_masks(empty, empty), torch.full_like(empty, -10.0))


def test_bad_shapes_are_named() -> None:
    masks = torch.zeros(2, 1, 4, 4)
    with pytest.raises(InputError, match=r"\[2, 1\].*\[3, 1\]"):
        apply_object_wise_non_overlapping(masks, torch.zeros(3, 1))
    with pytest.raises(InputError, match="one shape"):
        suppress_shrinked_masks(masks, masks[:1])

"""Points, boxes and masks: what is taken, and what is refused with which words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sam3.errors import InputError
from sam3.model.tracker.inputs import add_points, limit_points, parse_mask, parse_points_and_box
from sam3.model.tracker.state import PointInputs


def parse(**changes: Any) -> PointInputs:
    values: dict[str, Any] = {
        "points": None,
        "labels": None,
        "box": None,
        "clear_old_points": True,
        "rel_coordinates": True,
        "image_size": 1008,
        "device": torch.device("cpu"),
    }
    return parse_points_and_box(**{**values, **changes})


def test_box_comes_before_points_in_model_pixels() -> None:
    parsed = parse(points=[[0.5, 0.25]], labels=[0], box=[0.0, 0.25, 0.5, 1.0])
    expected = [[[0, 252], [504, 1008], [504, 252]]]
    assert torch.equal(parsed.point_coords, torch.tensor(expected, dtype=torch.float32))
    assert parsed.point_labels.tolist() == [[2, 3, 0]]
    assert parsed.point_labels.dtype == torch.int32


@pytest.mark.parametrize("kind", [list, np.asarray, torch.tensor])
def test_lists_arrays_and_tensors_are_taken(kind: Any) -> None:
    parsed = parse(points=kind([[10.0, 20.0]]), labels=kind([1]), rel_coordinates=False)
    assert parsed.point_coords.tolist() == [[[10.0, 20.0]]]


def test_a_leading_batch_axis_is_taken() -> None:
    assert parse(points=torch.zeros(1, 3, 2), labels=torch.ones(1, 3)).point_coords.shape == (
        1,
        3,
        2,
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "at least one of points or box"),
        ({"points": [[0.1, 0.1]]}, "given together"),
        ({"labels": [1]}, "given together"),
        ({"box": [0, 0, 1, 1], "clear_old_points": False}, "clear_old_points=True"),
        ({"points": [[0.1, 1.2]], "labels": [1]}, "outside the picture"),
        ({"points": [[-0.1, 0.2]], "labels": [0]}, "outside the picture"),
        ({"points": [[1009, 2]], "labels": [1], "rel_coordinates": False}, "0 to 1008"),
        ({"points": [[0.1, float("nan")]], "labels": [1]}, "finite"),
        ({"points": [[0.1, 0.1]], "labels": [1, 1]}, r"\[1, 2\] and \[2\]"),
        ({"points": [0.1, 0.1], "labels": [1, 1]}, "points must be"),
        ({"points": [], "labels": []}, "points must be|empty"),
        ({"points": torch.zeros(0, 2), "labels": []}, "empty"),
        ({"points": [[0.1, 0.1]], "labels": [7]}, "labels must be 1"),
        ({"points": [["a", 0.1]], "labels": [1]}, "numbers"),
        ({"box": [0.5, 0.1, 0.5, 0.2]}, "empty"),
        ({"box": [0.6, 0.1, 0.5, 0.2]}, "empty"),
        ({"box": [1.1, 0.1, 1.5, 0.2]}, "outside the picture"),
        ({"box": [0.1, 0.2, 0.3]}, "x0, y0, x1, y1"),
    ],
)
def test_bad_prompts_are_explained(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        parse(**changes)
    assert isinstance(caught.value, ValueError)


def points(count: int, first: int = 0) -> PointInputs:
    x = torch.arange(first, first + count, dtype=torch.float32)
    return PointInputs(torch.stack([x, x], -1)[None], torch.ones(1, count, dtype=torch.int32))


def test_new_points_follow_old_ones() -> None:
    both = add_points(points(2), points(3, first=2))
    assert both.point_coords[0, :, 0].tolist() == [0, 1, 2, 3, 4]
    assert add_points(None, points(1)).point_labels.shape == (1, 1)


@pytest.mark.parametrize(
    ("count", "limit", "kept"),
    [
        (16, 16, list(range(16))),
        (20, 16, [*range(8), *range(12, 20)]),
        (6, 3, [0, 4, 5]),
        (6, 0, list(range(6))),
    ],
)
def test_many_points_keep_both_ends(
    count: int, limit: int, kept: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    cut = limit_points(points(count), limit)
    assert cut.point_coords[0, :, 0].tolist() == kept
    assert cut.point_labels.shape == (1, len(kept))
    assert bool(caplog.records) == (len(kept) < count)


def test_masks_of_any_size_are_taken() -> None:
    assert parse_mask(np.ones((6, 8), dtype=bool)).shape == (1, 1, 6, 8)
    assert parse_mask(torch.zeros(3, 5)).dtype == torch.float32


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (torch.zeros(2, 3, 3), "one by one"),
        (torch.zeros(0, 3), "at least one pixel"),
        (torch.full((2, 2), float("inf")), "finite"),
    ],
)
def test_bad_masks_are_explained(mask: torch.Tensor, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_mask(mask)

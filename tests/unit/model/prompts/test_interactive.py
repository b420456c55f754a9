"""Checking of interactive prompts: one form for good ones, a clear error for bad ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sam3.errors import InputError
from sam3.model.prompts.interactive import check_prompt

EXTENT, MASK_SIZE = (80, 60), (32, 32)


def checked(coords=None, labels=None, box=None, mask=None):
    return check_prompt(coords, labels, box, mask, extent=EXTENT, mask_size=MASK_SIZE)


@pytest.mark.parametrize(
    ("given", "points", "labels"),
    [
        (([[1, 2]], [1]), [[[1, 2]]], [[1]]),
        ((np.array([[1, 2], [80, 60]]), np.array([1, 0])), [[[1, 2], [80, 60]]], [[1, 0]]),
        (
            (torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]]), [[1], [0]]),
            [[[1, 2]], [[3, 4]]],
            [[1], [0]],
        ),
        (([[-5, 999]], [-1]), [[[-5, 999]]], [[-1]]),
        ((None, None, [1, 2, 30, 40]), [[[1, 2], [30, 40]]], [[2, 3]]),
        ((None, None, [-9, -9, 99, 99]), [[[-9, -9], [99, 99]]], [[2, 3]]),
        (([[5, 6]], [0], (1, 2, 30, 40)), [[[1, 2], [30, 40], [5, 6]]], [[2, 3, 0]]),
        (
            (None, None, [[1, 2, 3, 4], [5, 6, 7, 8]]),
            [[[1, 2], [3, 4]], [[5, 6], [7, 8]]],
            [[2, 3], [2, 3]],
        ),
    ],
)
def test_points_and_boxes_become_labelled_points(given, points, labels):
    prompt = checked(*given)
    assert prompt.points.dtype == torch.float32 and prompt.labels.dtype == torch.int32
    assert prompt.points.tolist() == points
    assert prompt.labels.tolist() == labels
    assert prompt.masks is None


def test_masks_get_a_batch_axis_and_serve_all_objects():
    one = np.ones((1, *MASK_SIZE), np.float32)
    alone = checked(mask=one)
    assert alone.points is None and alone.masks.shape == (1, 1, 32, 32)
    boxes = [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert checked(box=boxes, mask=one).masks.shape == (2, 1, 32, 32)
    assert checked(box=boxes, mask=np.stack([one, one])).masks.shape == (2, 1, 32, 32)


def test_no_prompt_is_a_prompt():
    assert checked() == checked(None, None, None, None)
    assert checked().points is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (([[1, 2]], None), "point_labels is missing"),
        ((None, [1]), "point_coords is missing"),
        (([[1, 2]], [1, 0]), "one number per point"),
        (([1, 2], [1]), r"\[P, 2\]"),
        (([[1, 2, 3]], [1]), r"\[P, 2\]"),
        (([], []), "at least one point"),
        (([[1, 2]], [7]), "must be among"),
        (([[81, 2]], [1]), "outside the picture.*0 to 80 for x and 0 to 60 for y"),
        (([[1, 2], [3, -1]], [1, 0]), r"point \[3.0, -1.0\] lies outside"),
        (([[1, float("nan")]], [1]), "finite"),
        (([["a", "b"]], [1]), "array of numbers"),
        (([[1, 2], [3]], [1, 1]), "array of numbers"),
        ((None, None, [1, 2, 3]), r"\[4\] or \[N, 4\]"),
        ((None, None, np.zeros((0, 4))), r"\[4\] or \[N, 4\]"),
        ((None, None, [10, 10, 10, 20]), "is empty"),
        ((None, None, [30, 10, 20, 20]), "is empty"),
        ((None, None, [80, 10, 90, 20]), "outside the picture"),
        ((None, None, [-20, -20, 0, 0]), "outside the picture"),
        ((None, None, [0, 0, float("inf"), 5]), "finite"),
        (([[1, 2]], [1], [[1, 2, 3, 4], [5, 6, 7, 8]]), "1 objects but 2 boxes"),
        ((None, None, None, np.zeros((1, 16, 16))), r"\[1, 32, 32\].*\[1, 16, 16\]"),
        ((None, None, None, np.zeros((32, 32))), r"\[1, 32, 32\]"),
        ((None, None, None, np.zeros((3, 32, 32))), r"\[1, 32, 32\]"),
        (([[1, 2]], [1], None, np.zeros((2, 1, 32, 32))), "2 masks for 1 objects"),
    ],
)
def test_bad_prompts(given, message):
    with pytest.raises(InputError, match=message):
        checked(*given)

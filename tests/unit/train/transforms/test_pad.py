"""Padding puts the whole picture, with all that belongs to it, somewhere into a square."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from sam3.errors import InputError
from sam3.train.transforms.basic_for_api import PadToSizeAPI, ToTensorAPI, pad
from tests.support.datasets import make_datapoint, make_object, make_query


def test_everything_moves_together() -> None:
    mask = torch.zeros(30, 40, dtype=torch.uint8)
    mask[10:20, 8:16] = 1
    item = make_object([8, 10, 16, 20], segment=mask)
    box, points = torch.tensor([[0.0, 0, 40, 30]]), torch.tensor([[[20.0, 15, 1]]])
    query = make_query(0, [0], input_bbox=box, input_points=points)
    datapoint = make_datapoint([query], [[item]])
    before = np.asarray(datapoint.images[0].data)
    pad(datapoint, 0, 48, left=3, top=18)
    after = np.asarray(datapoint.images[0].data)
    assert datapoint.images[0].size == (48, 48) and after.shape == (48, 48, 3)
    np.testing.assert_array_equal(after[18:, 3:43], before)
    assert after.sum() == before.sum()
    assert item.bbox.tolist() == [[11, 28, 19, 38]]
    assert query.input_bbox.tolist() == [[3, 18, 43, 48]]
    assert query.input_points.tolist() == [[[23, 33, 1]]]
    np.testing.assert_array_equal(item.segment[18:, 3:43], mask)
    assert item.segment.shape == (48, 48) and item.segment.sum() == mask.sum()


def test_places_are_random_and_reach_both_ends() -> None:
    random.seed(0)
    places = set()
    for _ in range(200):
        item = make_object([0, 0, 1, 1])
        PadToSizeAPI(43)(make_datapoint([make_query(0, [0])], [[item]]), epoch=3)
        left, top, _, _ = item.bbox[0].tolist()
        places.add((left, top))
    assert {p[0] for p in places} == {0, 1, 2, 3} and {p[1] for p in places} == set(range(14))


def test_bottom_right_leaves_the_corner_in_place() -> None:
    item = make_object([1, 2, 3, 4])
    datapoint = PadToSizeAPI(64, bottom_right=True)(make_datapoint([make_query(0, [0])], [[item]]))
    assert item.bbox.tolist() == [[1, 2, 3, 4]] and datapoint.images[0].size == (64, 64)


@pytest.mark.parametrize("consistent", [True, False])
def test_places_are_shared_only_if_consistent(consistent: bool) -> None:
    items = [[make_object([0, 0, 1, 1])] for _ in range(4)]
    queries = [make_query(n, [0]) for n in range(4)]
    random.seed(2)
    datapoint = PadToSizeAPI(99, consistent_transform=consistent)(make_datapoint(queries, items))
    places = {tuple(image.objects[0].bbox[0].tolist()) for image in datapoint.images}
    assert (len(places) == 1) is consistent


def test_one_place_needs_one_size() -> None:
    datapoint = make_datapoint([], [[], []])
    datapoint.images[1].size = (20, 20)
    with pytest.raises(InputError, match="needs one size"):
        PadToSizeAPI(64, consistent_transform=True)(datapoint)


def test_a_picture_that_is_too_large_is_an_error() -> None:
    with pytest.raises(InputError, match="40 x 30 pixels does not fit into 36 x 36"):
        PadToSizeAPI(36)(make_datapoint([], [[]]))


def test_tensors_are_padded_with_black() -> None:
    datapoint = ToTensorAPI()(make_datapoint([], [[]]))
    pixels = datapoint.images[0].data
    PadToSizeAPI(40, bottom_right=True)(datapoint)
    assert datapoint.images[0].data.shape == (3, 40, 40)
    assert datapoint.images[0].data.sum().item() == pytest.approx(pixels.sum().item())

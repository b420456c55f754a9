"""Resizing moves pixels, boxes, points, masks and areas together."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from sam3.errors import InputError
from sam3.train.transforms.basic_for_api import RandomResizeAPI, resize
from tests.support.datasets import make_datapoint, make_object, make_query


def test_everything_moves_together() -> None:
    mask = torch.zeros(30, 40, dtype=torch.uint8)
    mask[10:20, 8:16] = 1
    item = make_object([8, 10, 16, 20], segment=mask, area=0.25)
    query = make_query(
        0,
        [0],
        input_bbox=torch.tensor([[0.0, 0, 40, 30], [8, 10, 16, 20]]),
        input_points=torch.tensor([[[20.0, 15, 1], [4, 3, 0]]]),
        semantic_target=mask,
    )
    datapoint = make_datapoint([query], [[item]])
    resize(datapoint, 0, 60, square=True)
    [image] = datapoint.images
    assert image.size == (60, 60) == image.data.size
    np.testing.assert_allclose(item.bbox, [[12, 20, 24, 40]])
    np.testing.assert_allclose(query.input_bbox, [[0, 0, 60, 60], [12, 20, 24, 40]])
    np.testing.assert_allclose(query.input_points, [[[30, 30, 1], [6, 6, 0]]])
    assert item.area == pytest.approx(0.25 * 1.5 * 2)
    for moved in (item.segment, query.semantic_target):
        assert moved.dtype == torch.uint8 and moved.shape == (60, 60)
        rows, columns = moved.nonzero().T
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 39, 12, 23)


def test_only_the_picture_asked_for_moves() -> None:
    first, second = make_object([0, 0, 4, 4]), make_object([0, 0, 4, 4])
    queries = [make_query(n, [0], input_bbox=torch.ones(1, 4)) for n in range(2)]
    datapoint = make_datapoint(queries, [[first], [second]])
    resize(datapoint, 1, 60, square=True)
    assert datapoint.images[0].size == (30, 40)
    assert first.bbox.tolist() == [0, 0, 4, 4] and queries[0].input_bbox.tolist() == [[1] * 4]
    assert queries[1].input_bbox.tolist() == [[1.5, 2, 1.5, 2]]


def test_the_aspect_ratio_stays_unless_square() -> None:
    datapoint = make_datapoint([make_query(0, [])], [[]])
    assert resize(datapoint, 0, 15).images[0].size == (15, 20)
    assert resize(datapoint, 0, 30, max_size=20).images[0].size == (15, 20)


def test_tensors_are_resized_too() -> None:
    datapoint = make_datapoint([make_query(0, [])], [[]])
    datapoint.images[0].data = torch.linspace(0, 1, 40).expand(3, 30, 40)
    resized = resize(datapoint, 0, 15).images[0].data
    assert resized.shape == (3, 15, 20)
    assert resized[0, 0, 10].item() == pytest.approx(0.5, abs=0.03)


def test_small_masks_are_averaged_when_they_shrink() -> None:
    mask = torch.zeros(32, 32, dtype=torch.uint8)
    mask[::4, :16] = 1  # a quarter of the left half
    mask[:, 16:] = 1
    mask[::4, 16:] = 0  # three quarters of the right half
    item = make_object([0, 0, 32, 32], segment=mask)
    datapoint = make_datapoint([make_query(0, [0])], [[item]], size=(32, 32))
    resize(datapoint, 0, 8, square=True)
    assert item.segment.tolist() == [[0] * 4 + [1] * 4] * 8


@pytest.mark.parametrize("consistent", [True, False])
def test_draws_are_shared_only_if_consistent(consistent: bool) -> None:
    transform = RandomResizeAPI(range(8, 40), consistent_transform=consistent, square=True)
    random.seed(1)
    datapoint = transform(make_datapoint([make_query(0, [])], [[], [], []]), epoch=0)
    assert (len({image.size for image in datapoint.images}) == 1) is consistent


def test_all_sizes_are_drawn() -> None:
    transform = RandomResizeAPI([8, 16, 24], square=True)
    random.seed(0)
    seen = {transform(make_datapoint([], [[]])).images[0].size[0] for _ in range(40)}
    assert seen == {8, 16, 24}


def test_masks_must_be_decoded() -> None:
    item = make_object([0, 0, 4, 4], segment={"size": [30, 40], "counts": [1200]})
    with pytest.raises(InputError, match="put DecodeRle first"):
        resize(make_datapoint([make_query(0, [0])], [[item]]), 0, 20)


@pytest.mark.parametrize("sizes", [[], 0, [32, -1]])
def test_bad_sizes_are_an_error(sizes: list[int] | int) -> None:
    with pytest.raises(InputError, match="at least 1 pixel"):
        RandomResizeAPI(sizes)

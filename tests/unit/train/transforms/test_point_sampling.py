"""Simulated input: properties of the draws, bounds and bad input (numbers: test_data_golden)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sam3.errors import InputError
from sam3.train.transforms.point_sampling import (
    RandomizeInputBbox,
    center_positive_sample,
    noise_box,
    rescale_box_xyxy,
    uniform_positive_sample,
    uniform_sample_from_box,
)
from tests.support.datasets import make_datapoint, make_query

BOX = torch.tensor([100.0, 200, 180, 240])
SIZE = (400, 300)


def draws(count: int = 800, **options: float | None) -> torch.Tensor:
    torch.manual_seed(0)
    settings = {"box_noise_std": 0.1, "box_noise_max": None, **options}
    return torch.stack([noise_box(BOX, SIZE, **settings) for _ in range(count)]) - BOX


def test_noise_scales_with_the_sides() -> None:
    moves = draws()
    np.testing.assert_allclose(moves.std(0), [8, 4, 8, 4], rtol=0.1)
    np.testing.assert_allclose(moves.mean(0), [0] * 4, atol=1)


def test_noise_is_bounded_in_pixels() -> None:
    moves = draws(box_noise_max=5.0)
    assert moves.abs().max() == 5 and (moves.abs() < 5).any()


def test_noisy_boxes_stay_inside_and_upright() -> None:
    boxes = draws(box_noise_std=3.0) + BOX
    assert (boxes >= 0).all() and (boxes <= torch.tensor([300.0, 400] * 2)).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert (boxes == BOX).all(1).any()  # some draws were given up


def test_small_results_are_given_up() -> None:
    boxes = draws(min_box_area=3000.0) + BOX
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    given_up = (boxes == BOX).all(1)
    assert given_up.any() and not given_up.all() and (areas > 3000).all()


def test_no_noise_is_the_same_box() -> None:
    assert noise_box(BOX, SIZE, 0.0) is BOX


def test_the_transform_changes_each_box_that_prompts() -> None:
    boxes = torch.tensor([[5.0, 5, 20, 20], [10, 10, 30, 25]])
    query, plain = make_query(0, [], input_bbox=boxes), make_query(0, [])
    torch.manual_seed(3)
    datapoint = make_datapoint([plain, query], [[]])
    RandomizeInputBbox(box_noise_std=0.1, box_noise_max=20)(datapoint, epoch=0)
    torch.manual_seed(3)
    wanted = torch.stack([noise_box(box, (30, 40), 0.1, 20) for box in boxes])
    assert torch.equal(query.input_bbox, wanted) and not torch.equal(wanted, boxes)
    assert plain.input_bbox is None


@pytest.mark.parametrize(
    ("factor", "size", "wanted"),
    [
        (2.0, None, [60, 180, 220, 260]),
        (0.5, None, [120, 210, 160, 230]),
        (4.0, (300, 250), [0, 140, 250, 300]),
    ],
)
def test_boxes_grow_about_their_centre(
    factor: float, size: tuple[int, int] | None, wanted: list[float]
) -> None:
    assert rescale_box_xyxy(BOX, factor, size) == wanted
    assert rescale_box_xyxy(BOX.tolist(), factor, size) == wanted


@pytest.mark.parametrize("sample", [uniform_positive_sample, center_positive_sample])
def test_positive_clicks_hit_the_mask(sample: object) -> None:
    mask = np.random.default_rng(0).random((21, 33)) < 0.1
    np.random.seed(0)
    points = sample(mask, 40)
    assert points.shape == (40, 3) and (points[:, 2] == 1).all()
    x, y = points[:, :2].astype(int).T
    assert mask[y, x].all()


def test_uniform_clicks_reach_every_pixel() -> None:
    mask = np.zeros((5, 6))
    mask[1, 2:5] = 255
    np.random.seed(0)
    points = uniform_positive_sample(mask, 300)
    counts = np.bincount(points[:, 0].astype(int))
    assert (points[:, 1] == 1).all() and (counts[2:5] > 70).all() and counts[:2].sum() == 0


def test_the_picture_edge_counts_as_border() -> None:
    assert center_positive_sample(np.ones((9, 9)), 1).tolist() == [[4, 4, 1]]


def test_more_clicks_than_pixels_repeat() -> None:
    mask = np.zeros((3, 3))
    mask[1, 2] = 1
    assert center_positive_sample(mask, 3).tolist() == [[2, 1, 1]] * 3


def test_clicks_into_a_box_are_labelled_by_the_mask() -> None:
    mask = np.zeros((20, 30), dtype=np.uint8)
    mask[5:10, 10:20] = 1
    np.random.seed(0)
    points = uniform_sample_from_box(mask, torch.tensor([8.7, 3.2, 22.9, 90.0]), 2000)
    x, y, label = points.T
    assert (x.min(), x.max(), y.min(), y.max()) == (8, 21, 3, 19)
    np.testing.assert_array_equal(label, mask[y, x])
    assert 0.1 < label.mean() < 0.4


def test_impossible_clicks_are_an_error() -> None:
    for sample in (uniform_positive_sample, center_positive_sample):
        with pytest.raises(InputError, match="empty mask"):
            sample(np.zeros((4, 4)), 1)
    with pytest.raises(InputError, match="holds no pixel of a 4 x 4 mask"):
        uniform_sample_from_box(np.ones((4, 4)), [2, 2, 2.5, 4], 1)

"""Simulated boxes and clicks: where they may lie, which label they get, repeatable, bad input."""

from __future__ import annotations

import pytest
import torch

from sam3.errors import InputError
from sam3.model.utils.click_sampling import (
    get_next_point,
    mask_to_box,
    sample_box_points,
    sample_one_point_from_error_center,
    sample_random_points_from_errors,
)


def rectangle(x0: int, y0: int, x1: int, y1: int, height: int = 40, width: int = 60):
    mask = torch.zeros(1, 1, height, width, dtype=torch.bool)
    mask[..., y0:y1, x0:x1] = True
    return mask


OBJECT = rectangle(10, 5, 30, 25)
EMPTY = torch.zeros_like(OBJECT)


def at(mask: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """mask [B, 1, H, W] at points [B, P, 2] -> [B, P]."""
    x, y = points.long().unbind(-1)
    return mask[:, 0][torch.arange(len(mask))[:, None], y, x]


def test_box_of_a_mask():
    boxes = mask_to_box(torch.cat([OBJECT, EMPTY]))
    assert boxes.dtype == torch.int32
    assert boxes.tolist() == [[[10, 5, 29, 24]], [[0, 0, 0, 0]]]


def test_box_without_noise():
    points, labels = sample_box_points(OBJECT, noise=0)
    assert points.tolist() == [[[10, 5], [29, 24]]] and labels.tolist() == [[2, 3]]


@pytest.mark.parametrize(("noise", "bound", "reach"), [(0.1, 20, 2.0), (2.0, 3, 3.0)])
def test_box_noise_is_bounded_and_fills_its_range(noise, bound, reach):
    generator = torch.Generator().manual_seed(0)
    masks = OBJECT.expand(2000, 1, 40, 60)
    points, _ = sample_box_points(masks, noise, bound, generator=generator)
    shift = points.reshape(-1, 4) - torch.tensor([10.0, 5, 29, 24])
    assert shift.abs().max() <= reach and (shift.abs().amax(0) > 0.97 * reach).all()
    assert shift.mean(0).abs().max() < 0.1 * reach


def test_box_stays_inside_the_picture():
    generator = torch.Generator().manual_seed(1)
    whole = torch.ones(300, 1, 40, 60).bool()
    points, _ = sample_box_points(whole, 0.5, generator=generator)
    assert points.min() >= 0
    assert points[..., 0].max() <= 59 and points[..., 1].max() <= 39


CASES = {
    "nothing predicted": (OBJECT, None, OBJECT, 1),
    "a part missing": (OBJECT, rectangle(10, 5, 20, 25), rectangle(20, 5, 30, 25), 1),
    "too much": (OBJECT, rectangle(10, 5, 50, 25), rectangle(30, 5, 50, 25), 0),
    "all correct": (OBJECT, OBJECT, ~OBJECT, 0),
    "empty and correct": (EMPTY, EMPTY, ~EMPTY, 0),
    "full and correct": (~EMPTY, ~EMPTY, ~EMPTY, 1),
}


@pytest.mark.parametrize("method", ["uniform", "center"])
@pytest.mark.parametrize("name", CASES)
def test_click_lies_in_the_error(name, method):
    truth, predicted, region, label = CASES[name]
    points, labels = get_next_point(truth, predicted, method)
    assert points.shape == (1, 1, 2) and points.dtype == torch.float32
    assert labels.tolist() == [[label]] and labels.dtype == torch.int32
    assert at(region, points).all()


def test_random_clicks_reach_every_wrong_pixel_with_the_right_label():
    truth = rectangle(2, 2, 4, 4)
    predicted = rectangle(3, 3, 5, 5)
    generator = torch.Generator().manual_seed(0)
    points, labels = sample_random_points_from_errors(truth, predicted, 300, generator=generator)
    seen = {(int(x), int(y), int(k)) for (x, y), k in zip(points[0], labels[0], strict=True)}
    assert seen == {(2, 2, 1), (3, 2, 1), (2, 3, 1), (4, 3, 0), (3, 4, 0), (4, 4, 0)}


def test_random_clicks_repeat_from_their_generator():
    first, second = (
        sample_random_points_from_errors(OBJECT, None, 5, torch.Generator().manual_seed(7))[0]
        for _ in range(2)
    )
    assert torch.equal(first, second)


def test_central_click_takes_the_deeper_region():
    truth = rectangle(0, 0, 20, 9) | rectangle(40, 20, 45, 25)
    predicted = rectangle(0, 0, 20, 9) | rectangle(25, 20, 32, 27)  # 7 surplus against 5 missing
    points, labels = sample_one_point_from_error_center(truth, predicted)
    assert points.tolist() == [[[28, 23]]] and labels.tolist() == [[0]]
    points, labels = sample_one_point_from_error_center(predicted, truth)
    assert points.tolist() == [[[28, 23]]] and labels.tolist() == [[1]]


def test_padding_makes_the_picture_edge_a_border():
    corner = rectangle(0, 0, 9, 9)
    with_edge, _ = sample_one_point_from_error_center(corner, None)
    without, _ = sample_one_point_from_error_center(corner, None, padding=False)
    assert with_edge.tolist() == [[[4, 4]]] and without.tolist() == [[[0, 0]]]


def test_objects_are_independent():
    truth = torch.cat([OBJECT, OBJECT, EMPTY])
    predicted = torch.cat([EMPTY, rectangle(10, 5, 50, 25), EMPTY])
    _, labels = get_next_point(truth, predicted, "center")
    assert labels.tolist() == [[1], [0], [0]]
    assert get_next_point(truth[:0], None, "uniform")[0].shape == (0, 1, 2)


@pytest.mark.parametrize(
    ("truth", "predicted", "method", "message"),
    [
        (OBJECT, None, "middle", '"uniform" and "center"'),
        (OBJECT.float(), None, "uniform", "bool"),
        (OBJECT, OBJECT.float(), "center", "bool"),
        (OBJECT, OBJECT[..., :5], "center", "one shape"),
        (OBJECT[0], None, "uniform", r"\[B, 1, H, W\]"),
    ],
)
def test_bad_input(truth, predicted, method, message):
    with pytest.raises(InputError, match=message):
        get_next_point(truth, predicted, method)
    if truth is not OBJECT:
        with pytest.raises(InputError, match=message):
            mask_to_box(truth)

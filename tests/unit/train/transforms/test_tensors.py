"""Tensors in [0, 1], then normalised, with boxes and points as fractions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sam3.errors import InputError
from sam3.train.transforms.basic_for_api import ComposeAPI, NormalizeAPI, ToTensorAPI
from tests.support.datasets import make_datapoint, make_object, make_query


def test_pixels_become_fractions_of_255() -> None:
    datapoint = make_datapoint([], [[], []])
    pixels = [np.asarray(image.data) for image in datapoint.images]
    ToTensorAPI()(datapoint, epoch=1)
    for image, array in zip(datapoint.images, pixels, strict=True):
        assert image.data.dtype == torch.float32
        np.testing.assert_allclose(image.data, array.transpose(2, 0, 1) / 255, atol=1e-7)


def test_tensors_stay() -> None:
    datapoint = make_datapoint([], [[]])
    datapoint.images[0].data = given = torch.rand(3, 30, 40)
    assert ToTensorAPI()(datapoint).images[0].data is given


def test_each_channel_has_its_own_mean_and_std() -> None:
    datapoint = make_datapoint([], [[]])
    datapoint.images[0].data = torch.full((3, 30, 40), 0.5)
    NormalizeAPI([0.1, 0.3, 0.5], [0.2, 0.4, 1.0])(datapoint)
    means = datapoint.images[0].data.mean((1, 2))
    np.testing.assert_allclose(means, [2.0, 0.5, 0.0], atol=1e-6)


@pytest.mark.parametrize("shape", [(4,), (1, 4)])
def test_boxes_and_points_become_fractions(shape: tuple[int, ...]) -> None:
    item = make_object([8, 10, 16, 20])
    item.bbox = item.bbox.view(shape)
    box, points = torch.tensor([[0.0, 15, 40, 30]]), torch.tensor([[[20.0, 15, 1], [4, 3, 0]]])
    query = make_query(0, [0], input_bbox=box, input_points=points)
    ComposeAPI([ToTensorAPI(), NormalizeAPI([0.5] * 3, [0.5] * 3)])(
        make_datapoint([query], [[item]])
    )
    assert item.bbox.shape == shape
    np.testing.assert_allclose(item.bbox.flatten(), [0.3, 0.5, 0.2, 1 / 3], atol=1e-6)
    np.testing.assert_allclose(query.input_bbox, [[0.5, 0.75, 1, 0.5]])
    np.testing.assert_allclose(query.input_points, [[[0.5, 0.5, 1], [0.1, 0.1, 0]]])
    assert points[0, 0, 0] == 20  # the given tensor is not written to


def test_pictures_must_be_tensors() -> None:
    with pytest.raises(InputError, match="put ToTensorAPI before"):
        NormalizeAPI([0.5] * 3, [0.5] * 3)(make_datapoint([], [[]]))


def test_compose_runs_in_order_and_hands_on_keywords() -> None:
    seen = []

    def note(name: str):  # noqa: ANN202 - a transform
        def transform(datapoint, epoch):  # noqa: ANN001, ANN202
            seen.append((name, epoch))
            return f"{datapoint}{name}"

        return transform

    assert ComposeAPI([note("a"), note("b")])("x", epoch=4) == "xab"
    assert seen == [("a", 4), ("b", 4)]

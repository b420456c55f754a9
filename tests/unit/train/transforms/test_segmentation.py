"""Masks from run lengths."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sam3.errors import DataError, InputError
from sam3.perflib.rle import encode_rle
from sam3.train.transforms.segmentation import DecodeRle
from tests.support.datasets import make_datapoint, make_object, make_query


def decode(box: list[float], segment: object) -> object:
    item = make_object(box, segment=segment)
    DecodeRle()(make_datapoint([make_query(0, [0])], [[item]]), epoch=0)
    return item.segment


def test_masks_are_decoded() -> None:
    mask = np.random.default_rng(0).random((30, 40)) < 0.4
    decoded = decode([0, 0, 40, 30], encode_rle(mask))
    assert decoded.dtype == torch.uint8
    np.testing.assert_array_equal(decoded, mask)


def test_what_is_no_run_length_stays() -> None:
    given = torch.ones(30, 40, dtype=torch.uint8)
    assert decode([0, 0, 4, 4], None) is None
    assert decode([0, 0, 4, 4], given) is given


@pytest.mark.parametrize(
    ("box", "wanted"),
    [
        ([4, 6, 10, 9], (6, 9, 4, 10)),
        ([4.6, 6.2, 4.7, 6.3], (6, 7, 4, 5)),  # thinner than a pixel
        ([35.5, 28, 40, 30], (28, 30, 35, 40)),
    ],
)
def test_an_empty_mask_becomes_its_box(box: list[float], wanted: tuple[int, ...]) -> None:
    decoded = decode(box, {"size": [30, 40], "counts": [1200]})
    filled = np.zeros((30, 40))
    top, bottom, left, right = wanted
    filled[top:bottom, left:right] = 1
    np.testing.assert_array_equal(decoded, filled)


def test_a_mask_of_another_size_is_named() -> None:
    with pytest.raises(DataError, match="40 x 30 pixels .* does not fit its picture of 30 x 40"):
        decode([0, 0, 4, 4], {"size": [40, 30], "counts": [1200]})


@pytest.mark.parametrize("counts", [[1, 2], "m3<b", [-5, 1205]])
def test_damaged_run_lengths_are_an_error(counts: object) -> None:
    with pytest.raises(InputError, match="add up|damaged"):
        decode([0, 0, 4, 4], {"size": [30, 40], "counts": counts})

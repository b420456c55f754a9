"""Run-length encoding: known cases, round trip, and pycocotools as a peer."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sam3.errors import InputError
from sam3.perflib.rle import counts_from_string, decode_rle, encode_rle


@pytest.mark.parametrize(
    ("mask", "counts"),
    [
        ([[0, 0], [0, 0]], [4]),
        ([[1, 1], [1, 1]], [0, 4]),
        ([[0, 1], [0, 1]], [2, 2]),  # a column: one run, so the order is column-major
        ([[0, 0], [1, 1]], [1, 1, 1, 1]),
        ([[1, 0, 0]], [0, 1, 2]),
        ([[0]], [1]),
        ([[1]], [0, 1]),
    ],
)
def test_known_masks(mask: list[list[int]], counts: list[int]) -> None:
    array = np.array(mask, dtype=bool)
    assert encode_rle(array) == {"size": list(array.shape), "counts": counts}


def random_masks() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = [(1, 1), (1, 17), (23, 1), (31, 45), (64, 64), (3, 400)]
    return [rng.random(s) < p for s in shapes for p in (0.0, 0.03, 0.5, 0.97, 1.0)]


@pytest.mark.parametrize("mask", random_masks(), ids=lambda m: f"{m.shape}-{m.mean():.2f}")
def test_round_trip_through_json(mask: np.ndarray) -> None:
    text = json.dumps(encode_rle(mask))
    np.testing.assert_array_equal(decode_rle(json.loads(text)), mask)


@pytest.mark.parametrize("mask", random_masks(), ids=lambda m: f"{m.shape}-{m.mean():.2f}")
def test_agrees_with_pycocotools(mask: np.ndarray) -> None:
    coco = pytest.importorskip("pycocotools.mask")
    rle = encode_rle(mask)
    packed = coco.frPyObjects(rle, *rle["size"])
    np.testing.assert_array_equal(coco.decode(packed).astype(bool), mask)
    theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert packed["counts"] == theirs["counts"]


def test_an_empty_side_has_no_counts() -> None:
    assert encode_rle(np.zeros((0, 5), dtype=bool)) == {"size": [0, 5], "counts": []}


def test_wrong_shape_and_wrong_counts_are_named() -> None:
    with pytest.raises(InputError, match=r"\[H, W\], got shape \[2, 3, 4\]"):
        encode_rle(np.zeros((2, 3, 4)))
    with pytest.raises(InputError, match="add up to 2 x 3 = 6, got a sum of 5"):
        decode_rle({"size": [2, 3], "counts": [2, 3]})


@pytest.mark.parametrize("mask", random_masks(), ids=lambda m: f"{m.shape}-{m.mean():.2f}")
def test_strings_of_pycocotools_are_read(mask: np.ndarray) -> None:
    coco = pytest.importorskip("pycocotools.mask")
    rle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert counts_from_string(rle["counts"]).tolist() == encode_rle(mask)["counts"]
    text = {"size": rle["size"], "counts": rle["counts"].decode()}
    np.testing.assert_array_equal(decode_rle(json.loads(json.dumps(text))), mask)


@pytest.mark.parametrize("text", ["m3<b", "m3 <", "m3<é", "o" * 40 + "1"])
def test_damaged_strings_are_named(text: str) -> None:
    with pytest.raises(InputError, match="damaged"):
        counts_from_string(text)


def test_a_string_of_another_size_is_named() -> None:
    with pytest.raises(InputError, match="add up to 29 x 40 = 1160, got a sum of 1200"):
        decode_rle({"size": [29, 40], "counts": "m3<b000000000000000000Wh0"})


def test_no_counts_are_an_empty_string() -> None:
    assert decode_rle({"size": [0, 4], "counts": ""}).shape == (0, 4)

"""Collation beyond the stored batches: stages, prompts, masks, empty answers, bad input."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sam3.errors import InputError
from sam3.model.data_misc import BatchedDatapoint
from sam3.train.data.collator import (
    collate_fn_api,
    collate_fn_api_with_chunking,
    packed_to_padded_naive,
)
from sam3.train.data.datapoint import Datapoint, FindQueryLoaded, Object
from tests.support.datasets import make_datapoint, make_object, make_query


def ready(queries: list[FindQueryLoaded], objects: list[list[Object]]) -> Datapoint:
    """A datapoint with tensors of 8 x 8 pixels, picture n filled with n."""
    datapoint = make_datapoint(queries, objects, size=(8, 8))
    for n, image in enumerate(datapoint.images):
        image.data = torch.full((3, 8, 8), float(n))
    return datapoint


def collate(*batch: Datapoint, **options: Any) -> BatchedDatapoint:
    return collate_fn_api(list(batch), "key", **options)["key"]


def positions(value: float) -> torch.Tensor:
    return torch.full((4,), value)


def test_stages_pictures_and_texts_are_numbered_over_the_batch() -> None:
    video = ready(
        [
            make_query(0, [], "cat", query_processing_order=0),
            make_query(1, [], "cat", query_processing_order=1),
            make_query(0, [], "dog", query_processing_order=0),
            make_query(1, [], "dog", query_processing_order=1),
        ],
        [[], []],
    )
    other = ready(
        [make_query(0, [], "dog"), make_query(1, [], "cat", query_processing_order=1)], [[], []]
    )
    batch = collate(video, other)
    assert batch.find_text_batch == ["cat", "dog"]
    assert [s.img_ids.tolist() for s in batch.find_inputs] == [[0, 0, 2], [1, 1, 3]]
    assert [s.text_ids.tolist() for s in batch.find_inputs] == [[0, 1, 1], [0, 1, 0]]
    assert batch.img_batch[:, 0, 0, 0].tolist() == [0, 1, 0, 1]
    assert len(batch.find_targets) == len(batch.find_metadatas) == 2


def test_prompts_of_different_lengths_are_padded() -> None:
    boxes = torch.arange(8.0).view(2, 4)
    queries = [
        make_query(0, [], input_bbox=boxes, input_bbox_label=torch.tensor([False, True])),
        make_query(0, [], input_points=torch.tensor([[[0.1, 0.2, 1.0]]])),
        make_query(0, [], input_bbox=boxes[:1]),
    ]
    [stage] = collate(ready(queries, [[]])).find_inputs
    assert stage.input_boxes.shape == (2, 3, 4)
    assert stage.input_boxes[:, 0].tolist() == boxes.tolist()
    assert stage.input_boxes[1, 1:].abs().sum() == 0
    assert stage.input_boxes_mask.tolist() == [[False, False], [True, True], [False, True]]
    assert stage.input_boxes_label.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert stage.input_points.shape == (3, 1, 3)
    torch.testing.assert_close(stage.input_points[1, 0], torch.tensor([0.1, 0.2, 1.0]))
    assert stage.input_points_mask.tolist() == [[True], [False], [True]]


def test_answers_are_packed_and_padded() -> None:
    objects = [make_object([0, 0, 1, 1], object_id=7), make_object([0, 0, 1, 1], object_id=9)]
    for n, item in enumerate(objects):
        item.bbox = positions(n + 1)
    queries = [
        make_query(0, [1, 0], "a"),
        make_query(0, [], "b", is_exhaustive=False),
        make_query(0, [1], "c"),
    ]
    batch = collate(ready(queries, [objects]), repeats=2)
    [target] = batch.find_targets
    assert target.num_boxes.tolist() == [2, 0, 1]
    assert target.boxes[:, 0].tolist() == [2, 1, 2] and target.boxes.shape == (3, 4)
    assert target.repeated_boxes[:, 0].tolist() == [2, 1, 2, 1, 2, 2]
    assert target.boxes_padded[..., 0].tolist() == [[2, 1], [0, 0], [2, 0]]
    assert target.object_ids.tolist() == [9, 7, 9]
    assert target.object_ids_padded.tolist() == [[9, 7], [-1, -1], [9, -1]]
    assert target.is_exhaustive.tolist() == [True, False, True]
    assert target.segments is None and target.is_valid_segment is None
    assert batch.find_inputs[0].object_ids == [[9, 7], [], [9]]


def test_no_answer_in_the_whole_batch_keeps_all_shapes() -> None:
    [target] = collate(ready([make_query(0, [])] * 2, [[]]), with_seg_masks=True).find_targets
    assert target.boxes.shape == (0, 4) and target.boxes_padded.shape == (2, 0, 4)
    assert target.segments.shape == (0, 8, 8) and target.segments.dtype == torch.bool
    assert target.is_valid_segment.shape == (0,) and target.object_ids_padded.shape == (2, 0)


def test_masks_that_are_missing_are_marked() -> None:
    mask = torch.zeros(8, 8, dtype=torch.uint8)
    mask[2:4] = 1
    objects = [make_object([0, 0, 1, 1]), make_object([0, 0, 1, 1], segment=mask)]
    queries = [make_query(0, [0, 1]), make_query(0, [1])]
    [target] = collate(ready(queries, [objects]), with_seg_masks=True).find_targets
    assert target.is_valid_segment.tolist() == [False, True, True]
    assert target.segments.flatten(1).sum(1).tolist() == [0, 16, 16]
    assert target.semantic_segments.shape == (0,)


def test_masks_of_everything_fall_back_to_the_union() -> None:
    mask = torch.zeros(8, 8, dtype=torch.uint8)
    mask[0] = 1
    objects = [make_object([0, 0, 1, 1], segment=mask), make_object([0, 0, 1, 1], segment=mask.T)]
    whole = torch.ones(8, 8, dtype=torch.uint8)
    queries = [make_query(0, [0, 1]), make_query(0, [], semantic_target=whole), make_query(0, [])]
    [target] = collate(ready(queries, [objects]), with_seg_masks=True).find_targets
    assert target.semantic_segments.dtype == torch.bool
    assert target.semantic_segments.flatten(1).sum(1).tolist() == [15, 64, 0]


def test_half_precision_pictures_and_raw_pictures() -> None:
    first, second = ready([make_query(0, [])], [[]]), ready([make_query(0, [])], [[]])
    first.raw_images, second.raw_images = ["raw 0"], ["raw 1"]
    batch = collate(first, second, load_image_in_fp16=True)
    assert batch.img_batch.dtype == torch.float16
    assert batch.raw_images == ["raw 0", "raw 1"]
    assert collate(ready([make_query(0, [])], [[]])).raw_images is None


def test_chunks_take_turns() -> None:
    batch = [ready([make_query(0, [], f"text {n}")], [[]]) for n in range(5)]
    chunks = collate_fn_api_with_chunking(batch, num_chunks=2, dict_key="all", repeats=1)
    assert [c["all"].find_text_batch for c in chunks] == [
        ["text 0", "text 2", "text 4"],
        ["text 1", "text 3"],
    ]
    with pytest.raises(InputError, match="5 datapoints cannot be split into 6 chunks"):
        collate_fn_api_with_chunking(batch, num_chunks=6, dict_key="all")


def test_pictures_of_different_sizes_or_not_tensors_are_an_error() -> None:
    small = ready([make_query(0, [])], [[]])
    small.images[0].data = torch.zeros(3, 4, 4)
    with pytest.raises(InputError, match=r"sizes \[\(4, 4\), \(8, 8\)\]"):
        collate(small, ready([make_query(0, [])], [[]]))
    with pytest.raises(InputError, match="1 that are no tensors"):
        collate(make_datapoint([make_query(0, [])], [[]]))


def test_stages_without_queries_are_an_error() -> None:
    query = make_query(0, [], query_processing_order=1)
    with pytest.raises(InputError, match=r"got stages \[1\]"):
        collate(ready([query], [[]]))
    with pytest.raises(InputError, match=r"got stages \[\]"):
        collate()


def test_bad_masks_and_missing_metadata_are_an_error() -> None:
    item = make_object([0, 0, 1, 1], segment={"size": [8, 8], "counts": [64]})
    with pytest.raises(InputError, match="got run lengths; put DecodeRle"):
        collate(ready([make_query(0, [0])], [[item]]), with_seg_masks=True)
    with pytest.raises(InputError, match="'cat' has no inference_metadata"):
        collate(ready([make_query(0, [], inference_metadata=None)], [[]]))


def test_packed_rows_must_add_up() -> None:
    assert packed_to_padded_naive(torch.zeros(0, 4), []).shape == (0, 0, 4)
    assert packed_to_padded_naive(torch.ones(1), [0, 1]).tolist() == [[0], [1]]
    with pytest.raises(InputError, match="add up to the 3 packed rows"):
        packed_to_padded_naive(torch.zeros(3), [1, 1])

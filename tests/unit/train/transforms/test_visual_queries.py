"""Phrases turned into example boxes."""

from __future__ import annotations

import random

import pytest
import torch

from sam3.train.transforms.filter_query_transforms import TextQueryToVisual
from tests.support.datasets import make_datapoint, make_object, make_query

BOXES = [[0.0, 0, 4, 4], [5, 5, 9, 9], [10, 1, 20, 7]]


def visual(query: object, **options: object) -> None:
    objects = [make_object(box) for box in BOXES]
    TextQueryToVisual(**{"probability": 1.0, **options})(
        make_datapoint([query], [objects]), epoch=0
    )


@pytest.mark.parametrize(("keep", "text"), [(False, "visual"), (True, "cat")])
def test_one_of_the_query_s_own_objects_is_the_example(keep: bool, text: str) -> None:
    random.seed(0)
    seen = set()
    for _ in range(30):
        query = make_query(0, [0, 2])
        visual(query, keep_text_queries=keep)
        assert query.query_text == text
        assert query.input_bbox_label.tolist() == [True]
        assert query.object_ids_output == [0, 2]
        seen.add(tuple(query.input_bbox.tolist()[0]))
    assert seen == {tuple(BOXES[0]), tuple(BOXES[2])}


def test_the_box_is_a_copy() -> None:
    query, item = make_query(0, [0]), make_object(BOXES[0])
    TextQueryToVisual(1.0)(make_datapoint([query], [[item]]))
    query.input_bbox += 1
    assert item.bbox.tolist() == BOXES[0]


@pytest.mark.parametrize(
    "query",
    [
        make_query(0, []),
        make_query(0, [0], query_processing_order=1),
        make_query(0, [0], input_bbox=torch.ones(1, 4), input_bbox_label=torch.zeros(1).bool()),
        make_query(0, [0], input_points=torch.ones(1, 1, 3)),
    ],
    ids=["negative", "later stage", "box", "point"],
)
def test_other_queries_stay(query: object) -> None:
    before = (query.input_bbox, query.input_bbox_label)
    visual(query)
    assert query.query_text == "cat" and (query.input_bbox, query.input_bbox_label) == before


def test_the_probability_is_kept() -> None:
    random.seed(0)
    queries = [make_query(0, [0]) for _ in range(2000)]
    TextQueryToVisual(0.25)(make_datapoint(queries, [[make_object(BOXES[0])]]))
    changed = sum(q.query_text == "visual" for q in queries)
    assert 430 < changed < 570  # 500 +- 3.6 standard deviations

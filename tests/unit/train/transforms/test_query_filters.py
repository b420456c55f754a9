"""Filters drop what they should, and indices still point at the same things."""

from __future__ import annotations

import pytest

from sam3.errors import DataError
from sam3.train.data.datapoint import Datapoint
from sam3.train.transforms.filter_query_transforms import (
    FilterCrowds,
    FilterEmptyTargets,
    FilterFindQueriesWithTooManyOut,
    FlexibleFilterFindGetQueries,
)
from sam3.train.transforms.query_filters import Rejected
from tests.support.datasets import make_datapoint, make_object, make_query


def names(datapoint: Datapoint) -> list[tuple[str, int, int, list[int]]]:
    """(phrase, picture, stage, ids of the objects) of every query."""
    return [
        (
            q.query_text,
            q.image_id,
            q.query_processing_order,
            [datapoint.images[q.image_id].objects[i].object_id for i in q.object_ids_output],
        )
        for q in datapoint.find_queries
    ]


def objects(*ids: int, **fields: object) -> list:
    return [make_object([0, 0, 1, 1], object_id=i, **fields) for i in ids]


def test_crowds_go_with_the_queries_that_want_nothing_else() -> None:
    crowd, single, other = objects(0, 1, 2)
    crowd.is_crowd = True
    queries = [
        make_query(0, [0], "people"),
        make_query(0, [0, 1], "person"),
        make_query(0, [], "dog"),
        make_query(0, [2], "cat"),
    ]
    datapoint = make_datapoint(queries, [[crowd, single, other]])
    FlexibleFilterFindGetQueries(FilterCrowds())(datapoint, epoch=0)
    assert names(datapoint) == [("person", 0, 0, [1]), ("dog", 0, 0, []), ("cat", 0, 0, [2])]
    assert [o.object_id for o in datapoint.images[0].objects] == [1, 2]


def test_empty_objects_go_and_their_queries_become_negative() -> None:
    full, empty = objects(0, 1)
    empty.area = 1e-7
    queries = [make_query(0, [1], "cat"), make_query(0, [0, 1], "dog")]
    datapoint = make_datapoint(queries, [[full, empty]])
    FlexibleFilterFindGetQueries(FilterEmptyTargets())(datapoint)
    assert names(datapoint) == [("cat", 0, 0, []), ("dog", 0, 0, [0])]


def test_queries_with_too_many_objects_go_with_what_only_they_used() -> None:
    queries = [make_query(0, [0, 1, 3], "cat"), make_query(0, [3, 2], "dog")]
    datapoint = make_datapoint(queries, [objects(0, 1, 2, 3)])
    FlexibleFilterFindGetQueries(FilterFindQueriesWithTooManyOut(2))(datapoint)
    assert names(datapoint) == [("dog", 0, 0, [3, 2])]
    assert [o.object_id for o in datapoint.images[0].objects] == [2, 3]
    untouched = FlexibleFilterFindGetQueries(FilterFindQueriesWithTooManyOut(2))(datapoint)
    assert names(untouched) == [("dog", 0, 0, [3, 2])]


def test_unused_pictures_go_and_stages_close_up() -> None:
    queries = [
        make_query(0, [0], "a", query_processing_order=2),
        make_query(2, [0], "b", query_processing_order=5),
    ]
    datapoint = make_datapoint(queries, [objects(10), objects(11), objects(12)])
    datapoint.raw_images = ["raw 0", "raw 1", "raw 2"]
    FlexibleFilterFindGetQueries(FilterCrowds())(datapoint)
    assert names(datapoint) == [("a", 0, 0, [10]), ("b", 1, 1, [12])]
    assert datapoint.raw_images == ["raw 0", "raw 2"]


def test_a_phrase_leaves_all_stages_at_once() -> None:
    queries = [
        make_query(n, ids, text, query_processing_order=n)
        for text, answers in (("cat", ([0], [0])), ("dog", ([1], [1, 2, 0])))
        for n, ids in enumerate(answers)
    ]
    datapoint = make_datapoint(queries, [objects(0, 1, 2), objects(0, 1, 2)])
    FlexibleFilterFindGetQueries(FilterFindQueriesWithTooManyOut(2))(datapoint)
    assert names(datapoint) == [("cat", 0, 0, [0]), ("cat", 1, 1, [0])]


def test_no_query_left_is_a_value_error() -> None:
    datapoint = make_datapoint([make_query(0, [0, 1])], [objects(0, 1)])
    with pytest.raises(ValueError, match="after FilterFindQueriesWithTooManyOut") as caught:
        FlexibleFilterFindGetQueries(FilterFindQueriesWithTooManyOut(1))(datapoint)
    assert isinstance(caught.value, DataError)


def test_any_function_can_be_a_filter() -> None:
    datapoint = make_datapoint([make_query(0, [0], "a"), make_query(0, [1], "b")], [objects(0, 1)])
    FlexibleFilterFindGetQueries(lambda d: Rejected(queries={0}))(datapoint)
    assert names(datapoint) == [("b", 0, 0, [1])]

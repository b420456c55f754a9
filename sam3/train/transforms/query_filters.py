"""Dropping queries and objects from a datapoint, and keeping all indices in step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ...errors import DataError
from ..data.datapoint import Datapoint, FindQueryLoaded

# Objects of no greater area are empty.
EMPTY_AREA = 1e-6


@dataclass(frozen=True)
class Rejected:
    """What a filter wants dropped: indices of queries, and (image, object) index pairs."""

    queries: set[int] = field(default_factory=set)
    objects: set[tuple[int, int]] = field(default_factory=set)


QueryFilter = Callable[[Datapoint], Rejected]


class FilterCrowds:
    """Drops objects that stand for a crowd, and queries that ask for nothing else.

    Such a query without its crowd would say that the picture does not show the phrase.
    """

    def __call__(self, datapoint: Datapoint) -> Rejected:
        """See :class:`Rejected`."""
        crowds = _objects_where(datapoint, lambda item: bool(item.is_crowd))
        emptied = {
            number
            for number, query in enumerate(datapoint.find_queries)
            if query.object_ids_output
            and all((query.image_id, i) in crowds for i in query.object_ids_output)
        }
        return Rejected(queries=emptied, objects=crowds)


class FilterEmptyTargets:
    """Drops objects without area; queries that ask for nothing else stay, as negative ones."""

    def __call__(self, datapoint: Datapoint) -> Rejected:
        """See :class:`Rejected`."""
        return Rejected(objects=_objects_where(datapoint, lambda item: item.area < EMPTY_AREA))


class FilterFindQueriesWithTooManyOut:
    """Drops queries with more than ``max_num_objects`` objects."""

    def __init__(self, max_num_objects: int) -> None:
        self.max_num_objects = max_num_objects

    def __call__(self, datapoint: Datapoint) -> Rejected:
        """See :class:`Rejected`."""
        crowded = {
            number
            for number, query in enumerate(datapoint.find_queries)
            if len(query.object_ids_output) > self.max_num_objects
        }
        return Rejected(queries=crowded)


class FlexibleFilterFindGetQueries:
    """Drops what a filter rejects, then objects and pictures that no query needs any more.

    Where there are several stages, the n-th query of each asks for the same phrase: if one is
    dropped, all are. Stages are numbered from 0 without gaps.
    """

    def __init__(self, query_filter: QueryFilter) -> None:
        self.query_filter = query_filter

    def __call__(self, datapoint: Datapoint, **_kwargs: Any) -> Datapoint:
        """Filter in place. Raises DataError, a ValueError, if no query is left."""
        rejected = self.query_filter(datapoint)
        dropped = _in_all_stages(datapoint.find_queries, rejected.queries)
        kept = [q for number, q in enumerate(datapoint.find_queries) if number not in dropped]
        if not kept:
            raise DataError(
                f"no query is left after {type(self.query_filter).__name__}; leave this sample out"
            )
        for query in kept:
            query.object_ids_output = [
                i for i in query.object_ids_output if (query.image_id, i) not in rejected.objects
            ]
        datapoint.find_queries = kept
        _drop_unused_objects(datapoint)
        _drop_unused_images(datapoint)
        _close_stages(datapoint)
        return datapoint


def _objects_where(datapoint: Datapoint, wanted: Callable[[Any], bool]) -> set[tuple[int, int]]:
    return {
        (number, index)
        for number, image in enumerate(datapoint.images)
        for index, item in enumerate(image.objects)
        if wanted(item)
    }


def _in_all_stages(queries: list[FindQueryLoaded], rejected: set[int]) -> set[int]:
    """``rejected`` and the queries that stand at the same place in other stages."""
    seen: dict[int, int] = {}
    places = []
    for query in queries:
        place = seen.get(query.query_processing_order, 0)
        seen[query.query_processing_order] = place + 1
        places.append(place)
    wanted = {places[number] for number in rejected}
    return {number for number, place in enumerate(places) if place in wanted}


def _drop_unused_objects(datapoint: Datapoint) -> None:
    for number, image in enumerate(datapoint.images):
        queries = [q for q in datapoint.find_queries if q.image_id == number]
        used = sorted({i for q in queries for i in q.object_ids_output})
        new = {old: index for index, old in enumerate(used)}
        image.objects = [image.objects[i] for i in used]
        for query in queries:
            query.object_ids_output = [new[i] for i in query.object_ids_output]


def _drop_unused_images(datapoint: Datapoint) -> None:
    used = sorted({q.image_id for q in datapoint.find_queries})
    new = {old: index for index, old in enumerate(used)}
    datapoint.images = [datapoint.images[i] for i in used]
    if datapoint.raw_images is not None:
        datapoint.raw_images = [datapoint.raw_images[i] for i in used]
    for query in datapoint.find_queries:
        query.image_id = new[query.image_id]


def _close_stages(datapoint: Datapoint) -> None:
    stages = sorted({q.query_processing_order for q in datapoint.find_queries})
    for query in datapoint.find_queries:
        query.query_processing_order = stages.index(query.query_processing_order)

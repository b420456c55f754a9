"""Front door of the transforms of queries; see query_filters.py and visual_queries.py."""

from __future__ import annotations

from .query_filters import (
    FilterCrowds,
    FilterEmptyTargets,
    FilterFindQueriesWithTooManyOut,
    FlexibleFilterFindGetQueries,
)
from .visual_queries import TextQueryToVisual

__all__ = [
    "FilterCrowds",
    "FilterEmptyTargets",
    "FilterFindQueriesWithTooManyOut",
    "FlexibleFilterFindGetQueries",
    "TextQueryToVisual",
]

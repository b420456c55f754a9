"""Front door of the matchers: assignment of object queries to ground-truth boxes.

The implementations live in ``sam3/train/matching/``; configurations use the names here.
"""

from __future__ import annotations

from .matching.hungarian import (
    BinaryFocalHungarianMatcher,
    BinaryHungarianMatcher,
    BinaryHungarianMatcherV2,
    HungarianMatcher,
)
from .matching.one_to_many import BinaryOneToManyMatcher

__all__ = [
    "BinaryFocalHungarianMatcher",
    "BinaryHungarianMatcher",
    "BinaryHungarianMatcherV2",
    "BinaryOneToManyMatcher",
    "HungarianMatcher",
]

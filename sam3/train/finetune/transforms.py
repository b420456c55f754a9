"""The chains of transforms for training and for measuring."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..data.datapoint import Datapoint
from ..transforms.basic_for_api import NormalizeAPI, PadToSizeAPI, RandomResizeAPI, ToTensorAPI
from ..transforms.filter_query_transforms import (
    FilterCrowds,
    FilterEmptyTargets,
    FlexibleFilterFindGetQueries,
)
from ..transforms.segmentation import DecodeRle
from .augment import RandomAffine, RandomTone
from .recipe import Changes

Transform = Callable[..., Datapoint]

_HALF = [0.5, 0.5, 0.5]
_STEP = 32  # pixels between the sides that are drawn


def training_transforms(side: int, changes: Changes) -> list[Transform]:
    """What happens to a training sample of a model that takes ``side`` x ``side`` pixels."""
    chain: list[Transform] = [FlexibleFilterFindGetQueries(FilterCrowds()), DecodeRle()]
    if changes.flip or changes.degrees or changes.zoom > 1:
        chain.append(RandomAffine(changes.flip, changes.degrees, changes.zoom))
    if changes.tone:
        chain.append(RandomTone(changes.tone))
    smallest = min(side, -(-round(changes.smallest * side) // _STEP) * _STEP)
    sides = [*range(smallest, side, _STEP), side]
    chain.append(RandomResizeAPI(sides, square=True))
    if len(sides) > 1:
        chain.append(PadToSizeAPI(side))
    chain += [ToTensorAPI(), FlexibleFilterFindGetQueries(FilterEmptyTargets())]
    return [*chain, NormalizeAPI(_HALF, _HALF)]


def measuring_transforms(side: int) -> list[Transform]:
    """What happens to a picture that the model is measured on."""
    resize: Any = RandomResizeAPI(side, square=True)
    return [resize, ToTensorAPI(), NormalizeAPI(_HALF, _HALF)]

"""Outlines of shapes that the drawn scenes lack, in the unit circle, y down."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ....errors import InputError

Outline = Callable[[np.random.Generator], np.ndarray]


def moon(rng: np.random.Generator) -> np.ndarray:
    """A crescent that opens to the right: [n, 2]."""
    reach = rng.uniform(0.2, 0.5)
    outer = np.linspace(np.deg2rad(55), np.deg2rad(305), 40)
    tip = math.cos(outer[0]), math.sin(outer[0])
    # The inner edge is half an ellipse through both tips.
    angle = np.linspace(-np.pi / 2, np.pi / 2, 30)
    inner = [tip[0] - (tip[0] + reach) * np.cos(angle), tip[1] * np.sin(angle)]
    return np.concatenate([np.stack([np.cos(outer), np.sin(outer)], 1), np.stack(inner, 1)])


def heart(rng: np.random.Generator) -> np.ndarray:
    """A heart, tip down: [n, 2]."""
    t = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([x, -(y + 2.5) * rng.uniform(0.9, 1.05)], 1) / 17


def house(rng: np.random.Generator) -> np.ndarray:
    """A wall with a roof: [n, 2]."""
    eaves, half = rng.uniform(-0.3, 0.05), rng.uniform(0.6, 0.75)
    over = half * rng.uniform(1.0, 1.25)
    roof = [(-over, eaves), (0, -0.95), (over, eaves)]
    return np.array([*roof, (half, eaves), (half, 0.75), (-half, 0.75), (-half, eaves)])


SHAPES: dict[str, Outline] = {"moon": moon, "heart": heart, "house": house}


def outline_of(name: str) -> Outline:
    """The outline of a new shape; InputError lists those there are."""
    if name not in SHAPES:
        raise InputError(f"there is no new shape {name!r}; there are {', '.join(SHAPES)}")
    return SHAPES[name]

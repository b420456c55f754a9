"""Places instead of objects: discs anywhere in a picture, that only a prompt can tell apart.

Trained on objects alone, the tracker first learns what objects look like, and then that the prompt
is of no use. A disc can only be found by its prompt.
"""

from __future__ import annotations

import numpy as np

RADIUS = (0.055, 0.165)
"""Smallest and largest radius, share of the picture's side."""


def draw_places(count: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """Bool masks [count, side, side] of discs whose centres are in the picture."""
    x, y = rng.uniform(0, side, (2, count, 1, 1))
    radius = side * rng.uniform(*RADIUS, (count, 1, 1))
    grid = np.arange(side) + 0.5
    return (grid - x) ** 2 + (grid[:, None] - y) ** 2 < radius**2

"""Paints one object on a small patch: colour, pattern, shading and outline.

Everything works on a patch just larger than the object, so that the cost follows the object
and not the picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .draw import Rings, coverage, line_coverage, thickness
from .vocabulary import COLOUR_NAMES, PATTERN_NAMES, sample_rgb


@dataclass(frozen=True)
class Patch:
    """A drawn object before it is put into a picture; all arrays share the patch size [h, w].

    rgb [h, w, 3] float32 in 0..255; alpha [h, w] float32 in 0..1.
    """

    rgb: np.ndarray
    alpha: np.ndarray


def draw_patch(
    colour: int,
    pattern: int,
    rings: Rings,
    size: tuple[int, int],
    radius: float,
    rng: np.random.Generator,
    plain: bool,
) -> Patch:
    """Paint the polygons (in patch pixels) on a patch of ``size`` (h, w).

    ``plain`` gives what simple programs draw: one colour, hard or soft edge, perhaps an outline.
    """
    factor = 1 if plain and rng.random() < 0.6 else (4 if radius < 60 else 3 if radius < 150 else 2)
    alpha = coverage(rings, size, factor)
    base = sample_rgb(colour, rng, 0.75 if plain else 0.2)
    rgb = np.empty((*size, 3), dtype=np.float32)
    rgb[:] = base
    if pattern:
        _apply_pattern(rgb, base, COLOUR_NAMES[colour], PATTERN_NAMES[pattern], radius, rng)
    if not plain:
        _shade(rgb, COLOUR_NAMES[colour], radius, rng)
    if rng.random() < (0.2 if plain else 0.25):
        _apply_outline(rgb, base, rings, size, radius, factor, rng)
    return Patch(np.clip(rgb, 0, 255), alpha)


def _contrast_ink(base: np.ndarray, name: str, rng: np.random.Generator) -> np.ndarray:
    """A second colour that does not take the object's name away."""
    if name == "black":
        return np.full(3, rng.uniform(95, 150), np.float32)
    if name == "white":
        return np.full(3, rng.uniform(90, 160), np.float32)
    if rng.random() < 0.5:
        return base * rng.uniform(0.35, 0.55)
    return base + (255 - base) * rng.uniform(0.6, 0.9)


def _grid(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(size[0], dtype=np.float32)[:, None], np.arange(size[1], dtype=np.float32)[
        None, :
    ]


def _apply_pattern(
    rgb: np.ndarray,
    base: np.ndarray,
    name: str,
    pattern: str,
    radius: float,
    rng: np.random.Generator,
) -> None:
    ink = _contrast_ink(base, name, rng)
    y, x = _grid(rgb.shape[:2])
    angle = rng.uniform(0, np.pi)
    u = x * math.cos(angle) + y * math.sin(angle)
    period = max(4.0, radius * rng.uniform(0.28, 0.5))
    if pattern == "striped":
        marks = (u / period + rng.random()) % 1 < rng.uniform(0.3, 0.45)
    else:
        v = -x * math.sin(angle) + y * math.cos(angle)
        du = (u / period + rng.random()) % 1 - 0.5
        dv = (v / period + rng.random()) % 1 - 0.5
        marks = du * du + dv * dv < rng.uniform(0.24, 0.32) ** 2
    rgb[marks] = ink


def _shade(rgb: np.ndarray, name: str, radius: float, rng: np.random.Generator) -> None:
    """Light falling from one side and a fine texture, within what the colour's name allows."""
    y, x = _grid(rgb.shape[:2])
    amount = {"yellow": 0.06, "orange": 0.06, "white": 0.07, "brown": 0.08}.get(name, 0.14)
    light = np.ones(rgb.shape[:2], dtype=np.float32)
    if rng.random() < 0.6:
        angle, cy, cx = rng.uniform(0, 2 * np.pi), rgb.shape[0] / 2, rgb.shape[1] / 2
        light += amount * np.clip(
            ((x - cx) * math.cos(angle) + (y - cy) * math.sin(angle)) / radius, -1, 1
        )
    if rng.random() < 0.3:
        light += rng.normal(0, amount / 3, light.shape).astype(np.float32)
    rgb *= light[..., None]
    if name == "black":
        rgb += rng.uniform(0, 12)
    elif rng.random() < 0.2:
        hy, hx = rgb.shape[0] * rng.uniform(0.3, 0.6), rgb.shape[1] * rng.uniform(0.3, 0.6)
        spot = np.exp(-((x - hx) ** 2 + (y - hy) ** 2) / (0.25 * radius) ** 2)[..., None]
        rgb += (255 - rgb) * spot * rng.uniform(0.2, 0.5)


def _apply_outline(
    rgb: np.ndarray,
    base: np.ndarray,
    rings: Rings,
    size: tuple[int, int],
    radius: float,
    factor: int,
    rng: np.random.Generator,
) -> None:
    width = max(1.0, radius * rng.uniform(0.04, 0.1))
    # Thin shapes must keep their own colour in the middle.
    width = min(width, 0.16 * thickness(rings))
    if width < 0.6:
        return
    style = rng.random()
    ink = np.zeros(3) if style < 0.45 else np.full(3, 255.0) if style < 0.65 else base * 0.5
    # Half of the line lies outside the polygon, where alpha is 0.
    line = line_coverage(rings, size, factor, width)[..., None]
    rgb *= 1 - line
    rgb += line * ink.astype(np.float32)

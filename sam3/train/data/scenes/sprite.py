"""An object drawn once and pasted into the frames of a clip at any place, angle and scale."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from .draw import place, unit_outline
from .paint import draw_patch
from .vocabulary import SHAPE_NAMES

_PAD = 3
Window = tuple[slice, slice]


@dataclass(frozen=True)
class Sprite:
    """A painted object: rgb [h, w, 3] uint8, alpha [h, w] uint8, its centre (x, y) and reach.

    ``reach``: no pixel of it lies farther than this from the centre, in pixels at scale 1.
    """

    rgb: np.ndarray
    alpha: np.ndarray
    centre: tuple[float, float]
    reach: float


def draw_sprite(
    attributes: tuple[int, int, int], radius: float, rng: np.random.Generator, plain: bool
) -> Sprite:
    """Paint an object with the attributes (colour, shape, pattern) and a radius in pixels."""
    colour, shape, pattern = attributes
    stretch = 1.0 if rng.random() < 0.6 else math.exp(rng.uniform(-0.16, 0.16))
    rings = place(unit_outline(SHAPE_NAMES[shape], rng), radius, 0.0, stretch)
    low = np.floor(rings[0].min(0)) - _PAD
    size = np.ceil(rings[0].max(0)) + _PAD - low
    moved = [ring - low for ring in rings]
    patch = draw_patch(colour, pattern, moved, (int(size[1]), int(size[0])), radius, rng, plain)
    return Sprite(
        rgb=np.rint(patch.rgb).astype(np.uint8),
        alpha=np.rint(patch.alpha * 255).astype(np.uint8),
        centre=(float(-low[0]), float(-low[1])),
        reach=float(np.linalg.norm(rings[0], axis=1).max()) + 1,
    )


def warp(
    sprite: Sprite, position: np.ndarray, angle: float, scale: float, size: tuple[int, int]
) -> tuple[Window, np.ndarray, np.ndarray] | None:
    """The sprite in a picture of ``size`` (h, w) with its centre at ``position`` (x, y).

    Returns (window, rgb [wh, ww, 3] float32 in 0..255, alpha [wh, ww] float32 in 0..1) of the
    part inside the picture, or None if nothing of it is. ``angle`` in radians.
    """
    reach = sprite.reach * scale + 1
    low = np.maximum(0, np.floor(position - reach)).astype(int)
    high = np.minimum((size[1], size[0]), np.ceil(position + reach)).astype(int)
    if (high <= low).any():
        return None
    # From a pixel of the window back to the sprite: turn by -angle, divide by scale.
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    dx, dy = low - position
    matrix = (
        cos,
        sin,
        cos * dx + sin * dy + sprite.centre[0],
        -sin,
        cos,
        -sin * dx + cos * dy + sprite.centre[1],
    )
    target = (int(high[0] - low[0]), int(high[1] - low[1]))
    layers = [
        Image.fromarray(layer).transform(
            target, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
        )
        for layer in (sprite.rgb, sprite.alpha)
    ]
    window = (slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0])))
    rgb, alpha = (np.asarray(layer, dtype=np.float32) for layer in layers)
    return window, rgb, alpha / 255


def colour_distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Perceived distance of RGB values [..., 3] in 0..255 ("redmean"): [...]."""
    mean = 0.5 * (first[..., 0] + second[..., 0]) / 255
    diff = (first - second) ** 2
    weighted = (2 + mean) * diff[..., 0] + 4 * diff[..., 1] + (3 - mean) * diff[..., 2]
    return np.sqrt(weighted) / 1.75

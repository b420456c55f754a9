"""Places objects on a canvas so that each stays visible and stands out."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageFilter

from .draw import Rings, place, unit_outline
from .paint import Patch, draw_patch
from .vocabulary import PATTERN_NAMES, SHAPE_NAMES, sample_colour_name, sample_shape_name

MIN_CONTRAST = 62.0  # weighted RGB distance an object needs to what touches it
MIN_VISIBLE = 0.55  # share of an object that must stay uncovered
MIN_AREA = 40  # visible pixels of every object
_CROSS = SHAPE_NAMES.index("cross")  # lying on its side it is a cross, too


class Composer:
    """Adds objects to a canvas until they no longer fit."""

    def __init__(
        self, canvas: np.ndarray, rng: np.random.Generator, level: int, plain: bool
    ) -> None:
        self.canvas, self.rng, self.level, self.plain = canvas, rng, level, plain
        self.labels: np.ndarray = np.zeros(canvas.shape[:2], dtype=np.uint8)
        self.attributes: list[tuple[int, int, int]] = []
        self.areas: list[int] = []  # full size of each object before anything covered it
        self.upright = bool(rng.random() < 0.3)

    def add_object(self) -> bool:
        """Try a few times to place one more object; False if none fitted."""
        for attempt in range(12):
            attributes = self.choose_attributes()
            radius = self.choose_radius(shrink=0.93**attempt)
            if self._try_place(attributes, radius):
                return True
        return False

    def choose_attributes(self) -> tuple[int, int, int]:
        """Colour, shape and pattern of the next object."""
        rng = self.rng
        colour, shape = sample_colour_name(rng), sample_shape_name(rng)
        pattern = 0
        if self.level and not (self.plain and rng.random() < 0.8):
            pattern = int(rng.choice(len(PATTERN_NAMES), p=(0.7, 0.16, 0.14)))
        if self.attributes and rng.random() < 0.55:
            twin = self.attributes[rng.integers(len(self.attributes))]
            share = rng.random()
            # Whole twins make phrases with several instances; half twins make hard negatives.
            if share < 0.4:
                colour, shape = twin[0], twin[1]
            elif share < 0.7:
                colour = twin[0]
            else:
                shape = twin[1]
        return colour, shape, pattern

    def choose_radius(self, shrink: float) -> float:
        """Its radius in pixels; later attempts shrink it."""
        rng, short = self.rng, min(self.labels.shape)
        kind = rng.random()
        if kind < 0.1:
            share = rng.uniform(0.05, 0.08)
        elif kind < 0.88:
            share = rng.uniform(0.08, 0.22)
        else:
            share = rng.uniform(0.22, 0.32)
        return max(6.0, share * shrink * short)

    def _try_place(self, attributes: tuple[int, int, int], radius: float) -> bool:
        colour, shape, pattern = attributes
        rings = self._turned_outline(shape, radius)
        low, high = rings[0].min(0), rings[0].max(0)
        centre = self._choose_centre(low, high, radius)
        if centre is None:
            return False
        corner = np.maximum(0, np.floor(centre + low - 2)).astype(int)
        stop = np.minimum(self.labels.shape[::-1], np.ceil(centre + high + 2)).astype(int)
        window = (slice(corner[1], stop[1]), slice(corner[0], stop[0]))
        size = (int(stop[1] - corner[1]), int(stop[0] - corner[0]))
        rings = [ring + (centre - corner) for ring in rings]
        patch = self.draw(colour, pattern, rings, size, radius)
        inside = patch.alpha >= 0.5
        if not self._fits(inside, window) or not self._stands_out(patch, inside, window):
            return False
        self._paint(patch, inside, window, attributes)
        return True

    def _turned_outline(self, shape: int, radius: float) -> Rings:
        """The shape's polygons in pixels around (0, 0), rotated and slightly stretched."""
        rng = self.rng
        upright = self.upright or rng.random() < 0.25
        angle = 0.0 if upright else rng.uniform(-math.pi, math.pi)
        if shape == _CROSS and upright and rng.random() < 0.4:
            angle = math.pi / 4
        stretch = 1.0 if rng.random() < 0.6 else math.exp(rng.uniform(-0.16, 0.16))
        return place(self.outline(shape), radius, angle, stretch)

    def draw(
        self, colour: int, pattern: int, rings: Rings, size: tuple[int, int], radius: float
    ) -> Patch:
        """An object on a patch of its own; other vocabularies override it."""
        plain = self.plain or self.level == 0
        return draw_patch(colour, pattern, rings, size, radius, self.rng, plain)

    def outline(self, shape: int) -> Rings:
        """Polygons of a shape in the unit circle, by its index; other vocabularies override it."""
        return unit_outline(SHAPE_NAMES[shape], self.rng)

    def _choose_centre(self, low: np.ndarray, high: np.ndarray, radius: float) -> np.ndarray | None:
        """(x, y) so that the extent low..high lies inside, or None if it is too large.

        One object in twelve may be cut by the border.
        """
        rng, (height, width) = self.rng, self.labels.shape
        room = np.array([width, height]) - (high - low) - 2
        if room.min() <= 0:
            return None
        slack = 0.35 * radius if self.level and rng.random() < 0.08 else 0.0
        centre = 1 - low - slack + rng.random(2) * (room + 2 * slack)
        return np.round(centre) if self.plain and rng.random() < 0.5 else centre

    def _fits(self, inside: np.ndarray, window: tuple[slice, slice]) -> bool:
        """No object may lose too much, and the newcomer covers others only now and then."""
        area = int(inside.sum())
        if area < MIN_AREA:
            return False
        covered = self.labels[window][inside]
        hidden = np.bincount(covered, minlength=len(self.areas) + 1)[1:]
        if not hidden.any():
            return True
        if self.rng.random() < 0.5 or hidden.sum() > 0.35 * area:
            return False
        remaining = np.bincount(self.labels.ravel(), minlength=len(self.areas) + 1)[1:] - hidden
        return bool((remaining >= np.maximum(MIN_AREA, MIN_VISIBLE * np.array(self.areas))).all())

    def _stands_out(self, patch: Patch, inside: np.ndarray, window: tuple[slice, slice]) -> bool:
        """Nearly all of the rim must differ from what lies beneath it."""
        rim = (patch.alpha > 0.02) & _near_edge(inside)
        if not rim.any():
            return False
        below, above = self.canvas[window][rim], patch.rgb[rim]
        mean = 0.5 * (below[:, 0] + above[:, 0]) / 255
        diff = (below - above) ** 2
        # "Redmean": a cheap RGB distance that follows perceived difference.
        distance = (
            np.sqrt((2 + mean) * diff[:, 0] + 4 * diff[:, 1] + (3 - mean) * diff[:, 2]) / 1.75
        )
        return bool(
            (distance > MIN_CONTRAST).mean() > 0.88 and distance.mean() > 1.4 * MIN_CONTRAST
        )

    def _paint(
        self,
        patch: Patch,
        inside: np.ndarray,
        window: tuple[slice, slice],
        attributes: tuple[int, int, int],
    ) -> None:
        target = self.canvas[window]
        if not self.plain and self.rng.random() < 0.12:
            _cast_shadow(target, patch.alpha)
        target += patch.alpha[..., None] * (patch.rgb - target)
        self.attributes.append(attributes)
        self.labels[window][inside] = len(self.attributes)
        self.areas.append(int(inside.sum()))


def _near_edge(inside: np.ndarray) -> np.ndarray:
    """Pixels of ``inside`` within two of its border. [h, w] bool."""
    core = inside.copy()
    for _ in range(2):
        padded = np.pad(core, 1)
        core = core & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside & ~core


def _cast_shadow(target: np.ndarray, alpha: np.ndarray) -> None:
    """Darken the patch softly around the object; only its neighbourhood is touched."""
    shifted = np.roll(alpha, (2, 2), (0, 1))
    shadow = Image.fromarray((shifted * 90).astype(np.uint8)).filter(ImageFilter.GaussianBlur(2))
    target *= 1 - np.asarray(shadow, dtype=np.float32)[..., None] / 255

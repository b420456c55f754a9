"""Composes whole scenes: background, 0-6 objects that stay visible and tell apart, camera faults.

``draw_scene(rng, size)`` is deterministic in its random generator. Object order is painting
order; each mask holds only the pixels that stay visible.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from .background import draw_background
from .draw import Patch, draw_patch, place, unit_outline
from .vocabulary import PATTERN_NAMES, SHAPE_NAMES, sample_colour_name, sample_shape_name

MAX_OBJECTS = 6
MIN_CONTRAST = 62.0  # weighted RGB distance an object needs to what touches it
MIN_VISIBLE = 0.55  # share of an object that must stay uncovered
_TRAINING_STREAM, _HELD_OUT_STREAM = 101, 202


@dataclass(frozen=True)
class Scene:
    """One picture with its objects.

    image [h, w, 3] uint8; labels [h, w] uint8, 0 = background, k = object k-1;
    attributes [n, 3] int8 (colour, shape, pattern); boxes [n, 4] float32 xyxy in pixels,
    right and bottom exclusive.
    """

    image: np.ndarray
    labels: np.ndarray
    attributes: np.ndarray
    boxes: np.ndarray

    @property
    def masks(self) -> np.ndarray:
        """Visible pixels per object: [n, h, w] bool."""
        ids = np.arange(1, len(self.attributes) + 1, dtype=np.uint8)
        return self.labels[None] == ids[:, None, None]


def scene_rng(seed: int, index: int, held_out: bool = False) -> np.random.Generator:
    """The generator of scene ``index``; held-out scenes come from a stream training never draws."""
    stream = _HELD_OUT_STREAM if held_out else _TRAINING_STREAM
    return np.random.default_rng((stream, seed, index))


def random_size(rng: np.random.Generator, low: int = 96, high: int = 400, max_aspect: float = 2.0) -> tuple[int, int]:
    """(h, w) with the long side log-uniform up to ``high`` and both sides at least ``low``."""
    long = math.exp(rng.uniform(math.log(low), math.log(high)))
    aspect = 1.0 if rng.random() < 0.25 else math.exp(rng.uniform(0, math.log(max_aspect)))
    short = max(low, round(long / aspect))
    long = max(short, round(long))
    return (short, long) if rng.random() < 0.5 else (long, short)


def draw_scene(rng: np.random.Generator, size: tuple[int, int], level: int = 1) -> Scene:
    """Draw one scene of ``size`` (h, w), both 32 or more.

    level 0: simple background, at most 3 unpatterned objects, no camera faults. level 1: all.
    Raises ValueError for sizes that cannot hold an object.
    """
    if min(size) < 32:
        raise ValueError(f"scenes need at least 32 x 32 pixels, got {size[0]} x {size[1]}")
    canvas = draw_background(size, rng, simple=level == 0 or rng.random() < 0.15)
    composer = _Composer(canvas, rng, level, plain=bool(rng.random() < 0.4))
    if level == 0:
        wanted = int(rng.choice(4, p=(0.06, 0.34, 0.34, 0.26)))
    else:
        wanted = int(rng.choice(7, p=(0.06, 0.17, 0.21, 0.2, 0.16, 0.12, 0.08)))
    for _ in range(wanted):
        composer.add_object()
    image = _camera(composer.canvas, rng) if level else _to_uint8(composer.canvas)
    attributes = np.array(composer.attributes, dtype=np.int8).reshape(-1, 3)
    return Scene(image, composer.labels, attributes, label_boxes(composer.labels, len(attributes)))


def label_boxes(labels: np.ndarray, count: int) -> np.ndarray:
    """Tight xyxy boxes (exclusive end) of labels 1..count: [count, 4] float32, zeros where absent."""
    from scipy.ndimage import find_objects

    boxes = np.zeros((count, 4), dtype=np.float32)
    for index, found in enumerate(find_objects(labels, max_label=count) if count else []):
        if found is not None:
            rows, cols = found
            boxes[index] = cols.start, rows.start, cols.stop, rows.stop
    return boxes


class _Composer:
    """Adds objects to a canvas until they no longer fit."""

    def __init__(self, canvas: np.ndarray, rng: np.random.Generator, level: int, plain: bool) -> None:
        self.canvas, self.rng, self.level, self.plain = canvas, rng, level, plain
        self.labels = np.zeros(canvas.shape[:2], dtype=np.uint8)
        self.attributes: list[tuple[int, int, int]] = []
        self.areas: list[int] = []  # full size of each object before anything covered it
        self.upright = bool(rng.random() < 0.3)

    def add_object(self) -> bool:
        """Try a few times to place one more object; False if none fitted."""
        for attempt in range(12):
            attributes = self._choose_attributes()
            radius = self._choose_radius(shrink=0.93**attempt)
            if self._try_place(attributes, radius):
                return True
        return False

    def _choose_attributes(self) -> tuple[int, int, int]:
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

    def _choose_radius(self, shrink: float) -> float:
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
        rng, (height, width) = self.rng, self.labels.shape
        colour, shape, pattern = attributes
        upright = self.upright or rng.random() < 0.25
        angle = 0.0 if upright else rng.uniform(-math.pi, math.pi)
        if shape == SHAPE_NAMES.index("cross") and upright and rng.random() < 0.4:
            angle = math.pi / 4
        stretch = 1.0 if rng.random() < 0.6 else math.exp(rng.uniform(-0.16, 0.16))
        rings = place(unit_outline(SHAPE_NAMES[shape], rng), radius, angle, stretch, 0.0)
        low, high = rings[0].min(0), rings[0].max(0)
        room = np.array([width, height]) - (high - low) - 2
        if room.min() <= 0:
            return False
        # Fully inside, but for one object in twelve which the border may cut.
        slack = 0.35 * radius if self.level and rng.random() < 0.08 else 0.0
        centre = 1 - low - slack + rng.random(2) * (room + 2 * slack)
        if self.plain and rng.random() < 0.5:
            centre = np.round(centre)
        corner = np.maximum(0, np.floor(centre + low - 2)).astype(int)
        stop = np.minimum((width, height), np.ceil(centre + high + 2)).astype(int)
        window = (slice(corner[1], stop[1]), slice(corner[0], stop[0]))
        patch = draw_patch(
            colour, pattern, rings, tuple(centre - corner), (stop[1] - corner[1], stop[0] - corner[0]),
            radius, rng, plain=self.plain or self.level == 0,
        )  # fmt: skip
        inside = patch.alpha >= 0.5
        if not self._fits(inside, window) or not self._stands_out(patch, inside, window):
            return False
        self._paint(patch, inside, window, attributes)
        return True

    def _fits(self, inside: np.ndarray, window: tuple[slice, slice]) -> bool:
        """No object may lose too much, and the newcomer covers others only now and then."""
        area = int(inside.sum())
        if area < 40:
            return False
        covered = self.labels[window][inside]
        hidden = np.bincount(covered, minlength=len(self.areas) + 1)[1:]
        if not hidden.any():
            return True
        if self.rng.random() < 0.5 or hidden.sum() > 0.35 * area:
            return False
        remaining = np.bincount(self.labels.ravel(), minlength=len(self.areas) + 1)[1:] - hidden
        return bool((remaining >= np.maximum(40, MIN_VISIBLE * np.array(self.areas))).all())

    def _stands_out(self, patch: Patch, inside: np.ndarray, window: tuple[slice, slice]) -> bool:
        """Nearly all of the rim must differ from what lies beneath it."""
        rim = (patch.alpha > 0.02) & _near_edge(inside)
        if not rim.any():
            return False
        below, above = self.canvas[window][rim], patch.rgb[rim]
        mean = 0.5 * (below[:, 0] + above[:, 0]) / 255
        diff = (below - above) ** 2
        # "Redmean": a cheap RGB distance that follows perceived difference.
        distance = np.sqrt((2 + mean) * diff[:, 0] + 4 * diff[:, 1] + (3 - mean) * diff[:, 2]) / 1.75
        return bool((distance > MIN_CONTRAST).mean() > 0.88 and distance.mean() > 1.4 * MIN_CONTRAST)

    def _paint(self, patch: Patch, inside: np.ndarray, window: tuple[slice, slice], attributes: tuple[int, int, int]) -> None:
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


def _to_uint8(canvas: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def _camera(canvas: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur, sensor noise and JPEG blocks, each now and then: float canvas -> uint8 picture."""
    if rng.random() < 0.35:
        sigma, grey = rng.uniform(1, 9), rng.random() < 0.5
        noise = rng.standard_normal((*canvas.shape[:2], 1 if grey else 3), dtype=np.float32)
        canvas = canvas + sigma * noise
    image = Image.fromarray(_to_uint8(canvas))
    if rng.random() < 0.2:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.9) * max(1.0, min(image.size) / 256)))
    if rng.random() < 0.25:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=int(rng.integers(35, 96)))
        image = Image.open(buffer).convert("RGB")
    return np.array(image)

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
from .composer import Composer

MAX_OBJECTS = 6
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


def random_size(
    rng: np.random.Generator, low: int = 96, high: int = 400, max_aspect: float = 3.0
) -> tuple[int, int]:
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
    composer = Composer(canvas, rng, level, plain=bool(rng.random() < 0.4))
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
    """Tight xyxy boxes (end exclusive) of labels 1..count: [count, 4] float32, 0 if absent."""
    from scipy.ndimage import find_objects

    boxes = np.zeros((count, 4), dtype=np.float32)
    for index, found in enumerate(find_objects(labels, max_label=count) if count else []):
        if found is not None:
            rows, cols = found
            boxes[index] = cols.start, rows.start, cols.stop, rows.stop
    return boxes


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
        image = image.filter(
            ImageFilter.GaussianBlur(rng.uniform(0.3, 0.9) * max(1.0, min(image.size) / 256))
        )
    if rng.random() < 0.25:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=int(rng.integers(35, 96)))
        image = Image.open(buffer).convert("RGB")
    return np.array(image)

"""Changes of a stored scene that keep every phrase true: eight orientations, light changes."""

from __future__ import annotations

import numpy as np


def random_orientation(rng: np.random.Generator) -> tuple[bool, bool, bool]:
    """(mirror left-right, mirror top-bottom, swap axes); upright scenes stay the usual case."""
    return bool(rng.random() < 0.5), bool(rng.random() < 0.2), bool(rng.random() < 0.2)


def orient(
    image: np.ndarray, labels: np.ndarray, boxes: np.ndarray, orientation: tuple[bool, bool, bool]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Turn a square picture [R, R, 3], its labels [R, R] and cxcywh boxes [n, 4].

    Pictures come back as views.
    """
    left_right, top_bottom, swap = orientation
    boxes = boxes.copy()
    if left_right:
        image, labels = image[:, ::-1], labels[:, ::-1]
        boxes[:, 0] = 1 - boxes[:, 0]
    if top_bottom:
        image, labels = image[::-1], labels[::-1]
        boxes[:, 1] = 1 - boxes[:, 1]
    if swap:
        image, labels = image.transpose(1, 0, 2), labels.T
        boxes = boxes[:, [1, 0, 3, 2]]
    return image, labels, boxes


def tone_curve(rng: np.random.Generator) -> np.ndarray:
    """[256, 3] float32: input level and channel -> normalised (x - 0.5) / 0.5 value.

    Brightness, contrast and gamma move by at most 12 %, the channels against each other by 3 %:
    too little to turn one colour name into another.
    """
    level = np.linspace(0, 1, 256, dtype=np.float32)[:, None]
    value = level ** np.float32(rng.uniform(0.88, 1.14))
    value = (value - 0.5) * np.float32(rng.uniform(0.88, 1.1)) + 0.5
    gain = rng.uniform(0.9, 1.1) * rng.uniform(0.985, 1.015, 3)
    return ((np.clip(value * gain.astype(np.float32), 0, 1) - 0.5) / 0.5).astype(np.float32)


def plain_curve() -> np.ndarray:
    """[256, 3] float32: the normalisation alone."""
    level = np.linspace(-1, 1, 256, dtype=np.float32)[:, None]
    return np.repeat(level, 3, axis=1)

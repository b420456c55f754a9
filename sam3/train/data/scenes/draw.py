"""The outlines of the shapes, and their rasterisation with or without soft edges.

Masks come from the same polygon as the pixels.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from .vocabulary import SHAPE_NAMES

Rings = list[np.ndarray]


def unit_outline(shape: str, rng: np.random.Generator) -> Rings:
    """Polygons of a shape in the unit circle, y down: the outer ring, then a hole if any."""
    if shape == "circle":
        return [_circle(1.0)]
    if shape == "ring":
        return [_circle(1.0), _circle(rng.uniform(0.45, 0.72))]
    if shape == "square":
        return [_square(rng)]
    if shape == "triangle":
        return [_triangle(rng)]
    if shape == "star":
        return [_star(rng)]
    if shape == "cross":
        return [_cross(rng)]
    raise ValueError(f"unknown shape {shape!r}; known: {', '.join(SHAPE_NAMES)}")


def _circle(radius: float) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    return radius * np.stack([np.cos(angle), np.sin(angle)], 1)


def _square(rng: np.random.Generator) -> np.ndarray:
    side = 0.75 if rng.random() < 0.5 else rng.uniform(0.7, 0.86)
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], dtype=float) * side
    if rng.random() < 0.15:
        return _rounded(corners, rng.uniform(0.05, 0.18) * side)
    return corners


def _rounded(corners: np.ndarray, radius: float) -> np.ndarray:
    points = []
    for index, corner in enumerate(corners):
        before, after = corners[index - 1], corners[(index + 1) % len(corners)]
        start = corner + radius * (before - corner) / np.linalg.norm(before - corner)
        stop = corner + radius * (after - corner) / np.linalg.norm(after - corner)
        for t in np.linspace(0, 1, 6):
            points.append((1 - t) ** 2 * start + 2 * t * (1 - t) * corner + t**2 * stop)
    return np.array(points)


def _triangle(rng: np.random.Generator) -> np.ndarray:
    kind = rng.random()
    if kind < 0.5:
        angle = np.deg2rad([-90, 30, 150])
        return np.stack([np.cos(angle), np.sin(angle)], 1)
    if kind < 0.85:
        half, height = rng.uniform(0.65, 1.0), rng.uniform(1.3, 1.85)
        points = np.array([[0, -height / 2], [half, height / 2], [-half, height / 2]])
    else:
        points = np.array([[-0.8, -0.8], [0.8, 0.8], [-0.8, 0.8]]) * rng.uniform(0.8, 1, 2)
        if rng.random() < 0.5:
            points[:, 0] *= -1
    return points / max(1.0, float(np.abs(points).max()))


def _star(rng: np.random.Generator) -> np.ndarray:
    count = int(rng.choice((5, 6, 7), p=(0.88, 0.09, 0.03)))
    inner = rng.uniform(0.36, 0.52) if rng.random() < 0.75 else 0.382
    if count > 5:
        inner = rng.uniform(0.45, 0.58)
    angle = np.arange(2 * count) * np.pi / count - np.pi / 2
    radius = np.where(np.arange(2 * count) % 2 == 0, 1.0, inner)
    return np.stack([np.cos(angle) * radius, np.sin(angle) * radius], 1)


def _cross(rng: np.random.Generator) -> np.ndarray:
    t = rng.uniform(0.2, 0.4) if rng.random() < 0.8 else 1 / 3
    long, thick = 0.95, 0.95 * t
    quarter = np.array([(-thick, -long), (thick, -long), (thick, -thick)])
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])  # a quarter turn of row vectors
    return np.concatenate([quarter @ np.linalg.matrix_power(turn, k) for k in range(4)])


def place(rings: Rings, radius: float, angle: float, stretch: float) -> Rings:
    """Scale to pixels, stretch along the shape's own x axis, then rotate by ``angle`` radians."""
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = turn @ np.diag([math.sqrt(stretch), 1 / math.sqrt(stretch)]) * radius
    return [ring @ matrix.T for ring in rings]


def coverage(rings: Rings, size: tuple[int, int], factor: int) -> np.ndarray:
    """Share of each pixel inside the polygons: [h, w] float32; ``factor`` 1 = hard edges."""
    height, width = size
    canvas = Image.new("L", (width * factor, height * factor), 0)
    pen = ImageDraw.Draw(canvas)
    for index, ring in enumerate(rings):
        points = ring * factor - 0.5
        pen.polygon([(float(x), float(y)) for x, y in points], fill=0 if index else 255)
    return _shares(canvas, factor)


def line_coverage(rings: Rings, size: tuple[int, int], factor: int, width: float) -> np.ndarray:
    """Share of each pixel within ``width`` pixels of a polygon's edge: [h, w] float32."""
    canvas = Image.new("L", (size[1] * factor, size[0] * factor), 0)
    pen = ImageDraw.Draw(canvas)
    stroke = max(1, round(2 * width * factor))
    for ring in rings:
        points = np.vstack([ring, ring[:2]]) * factor - 0.5
        pen.line([(float(x), float(y)) for x, y in points], fill=255, width=stroke, joint="curve")
    return _shares(canvas, factor)


def thickness(rings: Rings) -> float:
    """Typical width of a shape in pixels: twice its area over the length of its edges."""
    area = edge = 0.0
    for index, ring in enumerate(rings):
        following = np.roll(ring, -1, axis=0)
        twice = float((ring[:, 0] * following[:, 1] - ring[:, 1] * following[:, 0]).sum())
        area += abs(twice) / 2 * (-1 if index else 1)
        edge += float(np.linalg.norm(following - ring, axis=1).sum())
    return 2 * area / edge


def _shares(canvas: Image.Image, factor: int) -> np.ndarray:
    reduced = canvas.reduce(factor) if factor > 1 else canvas
    return np.asarray(reduced, dtype=np.float32) / 255

"""Draws one object on a small patch: outline polygon -> coverage, colour, pattern and shading.

Masks come from the same polygon as the pixels. Everything works on patches of a few times the
object's radius, so that the cost follows the object and not the picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from .vocabulary import COLOUR_NAMES, PATTERN_NAMES, SHAPE_NAMES, sample_rgb

Rings = list[np.ndarray]


@dataclass(frozen=True)
class Patch:
    """A drawn object before it is put into a picture; all arrays share the patch size [h, w].

    rgb [h, w, 3] float32 in 0..255; alpha [h, w] float32 in 0..1; outline [h, w] bool or None.
    """

    rgb: np.ndarray
    alpha: np.ndarray


def unit_outline(shape: str, rng: np.random.Generator) -> Rings:
    """Polygons of a shape inside the unit circle, y down: first the outer ring, then a hole if any."""
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
    points = [(-thick, -long), (thick, -long), (thick, -thick), (long, -thick), (long, thick), (thick, thick),
              (thick, long), (-thick, long), (-thick, thick), (-long, thick), (-long, -thick), (-thick, -thick)]
    return np.array(points, dtype=float)


def place(rings: Rings, radius: float, angle: float, stretch: float, shear_axis: float = 0.0) -> Rings:
    """Scale to pixels, stretch along ``shear_axis`` and rotate (angles in radians)."""
    def rotation(a: float) -> np.ndarray:
        return np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])

    scale = np.diag([math.sqrt(stretch), 1 / math.sqrt(stretch)])
    matrix = rotation(angle) @ rotation(shear_axis) @ scale @ rotation(-shear_axis) * radius
    return [ring @ matrix.T for ring in rings]


def coverage(rings: Rings, centre: tuple[float, float], size: tuple[int, int], factor: int) -> np.ndarray:
    """Share of each pixel inside the polygons: [h, w] float32; ``factor`` 1 = hard edges."""
    height, width = size
    canvas = Image.new("L", (width * factor, height * factor), 0)
    pen = ImageDraw.Draw(canvas)
    for index, ring in enumerate(rings):
        points = (ring + np.asarray(centre)) * factor - 0.5
        pen.polygon([(float(x), float(y)) for x, y in points], fill=0 if index else 255)
    if factor > 1:
        canvas = canvas.reduce(factor)
    return np.asarray(canvas, dtype=np.float32) / 255


def draw_patch(
    colour: int, pattern: int, rings: Rings, centre: tuple[float, float], size: tuple[int, int],
    radius: float, rng: np.random.Generator, plain: bool,
) -> Patch:
    """Paint the polygons on a patch of ``size`` (h, w), centre in patch pixels.

    ``plain`` gives what simple programs draw: one colour, hard or soft edge, perhaps an outline.
    """
    factor = 1 if plain and rng.random() < 0.6 else (4 if radius < 60 else 3 if radius < 150 else 2)
    alpha = coverage(rings, centre, size, factor)
    base = sample_rgb(colour, rng, 0.75 if plain else 0.2)
    rgb = np.empty((*size, 3), dtype=np.float32)
    rgb[:] = base
    if pattern:
        _apply_pattern(rgb, base, COLOUR_NAMES[colour], PATTERN_NAMES[pattern], radius, rng)
    if not plain:
        _shade(rgb, COLOUR_NAMES[colour], radius, rng)
    if rng.random() < (0.2 if plain else 0.25):
        _apply_outline(rgb, base, rings, centre, size, radius, factor, rng)
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
    return np.arange(size[0], dtype=np.float32)[:, None], np.arange(size[1], dtype=np.float32)[None, :]


def _apply_pattern(rgb: np.ndarray, base: np.ndarray, name: str, pattern: str, radius: float, rng: np.random.Generator) -> None:
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
        light += amount * np.clip(((x - cx) * math.cos(angle) + (y - cy) * math.sin(angle)) / radius, -1, 1)
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
    rgb: np.ndarray, base: np.ndarray, rings: Rings, centre: tuple[float, float], size: tuple[int, int],
    radius: float, factor: int, rng: np.random.Generator,
) -> None:
    width = max(1.0, radius * rng.uniform(0.04, 0.1))
    style = rng.random()
    ink = np.zeros(3) if style < 0.45 else np.full(3, 255.0) if style < 0.65 else base * 0.5
    canvas = Image.new("L", (size[1] * factor, size[0] * factor), 0)
    pen = ImageDraw.Draw(canvas)
    for ring in rings:
        points = (np.vstack([ring, ring[:2]]) + np.asarray(centre)) * factor - 0.5
        # Half of the line lies outside the polygon, where alpha is 0.
        pen.line([(float(a), float(b)) for a, b in points], fill=255, width=max(1, round(2 * width * factor)), joint="curve")
    line = np.asarray(canvas.reduce(factor) if factor > 1 else canvas, dtype=np.float32)[..., None] / 255
    rgb *= 1 - line
    rgb += line * ink.astype(np.float32)

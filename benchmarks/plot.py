"""A small line plot drawn with Pillow, so that no plotting package is needed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

SIZE = (900, 420)
MARGIN = (70, 40, 20, 60)
"""Left, top, right, bottom."""
COLOURS = ("#1f5fa8", "#c0392b", "#2e8b57", "#8e44ad")
GRID, TEXT = "#dddddd", "#333333"

Series = tuple[str, Sequence[float], Sequence[float]]
"""Name, x values, y values."""


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from ``low`` to ``high``, at most about ``most`` of them."""
    span = max(high - low, 1e-9)
    step = 10.0 ** len(str(int(span)))
    while span / step < most / 2:
        step /= 2 if span / (step / 2) < most else 2.5
    first = -(-low // step)
    return [step * (first + i) for i in range(int((high - first * step) // step) + 1)]


class _Axes:
    """From values to pixels."""

    def __init__(self, series: Sequence[Series]) -> None:
        self.x = (min(min(s[1]) for s in series), max(max(s[1]) for s in series))
        top = max(max(s[2]) for s in series)
        self.y = (min(0.0, min(min(s[2]) for s in series)), top * 1.1 or 1.0)

    def place(self, x: float, y: float) -> tuple[float, float]:
        left, top, right, bottom = MARGIN
        width, height = SIZE[0] - left - right, SIZE[1] - top - bottom
        across = (x - self.x[0]) / max(self.x[1] - self.x[0], 1e-9)
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return left + width * across, top + height * (1 - up)


def draw_lines(path: Path, series: Sequence[Series], title: str, x_name: str, y_name: str) -> Path:
    """Write a PNG with one line per series, whole or not at all."""
    picture = Image.new("RGB", SIZE, "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(size=13)
    axes = _Axes(series)
    for value in ticks(*axes.y):
        start, end = axes.place(axes.x[0], value), axes.place(axes.x[1], value)
        pen.line([start, end], fill=GRID)
        pen.text((start[0] - 8, start[1]), f"{value:g}", TEXT, font, anchor="rm")
    for value in ticks(*axes.x):
        x, y = axes.place(value, axes.y[0])
        pen.text((x, y + 8), f"{value:g}", TEXT, font, anchor="mt")
    for number, (name, xs, ys) in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        pen.line([axes.place(x, y) for x, y in zip(xs, ys, strict=True)], fill=colour, width=2)
        left = MARGIN[0] + 215 * number
        pen.line([(left, SIZE[1] - 16), (left + 18, SIZE[1] - 16)], fill=colour, width=3)
        pen.text((left + 24, SIZE[1] - 16), name, TEXT, font, anchor="lm")
    pen.text((MARGIN[0], 20), f"{title} ({y_name})", TEXT, font, anchor="lm")
    pen.text((SIZE[0] - MARGIN[2], SIZE[1] - 34), x_name, TEXT, font, anchor="rm")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    picture.save(temporary, format="PNG")
    os.replace(temporary, path)
    return path

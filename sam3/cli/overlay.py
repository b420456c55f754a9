"""Draw what was found: tinted instances, contours, boxes, and labels readable at any size."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .instances import Box

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

    from .instances import Instance

Color = tuple[int, int, int]

TINT = 0.45
READABLE_SIDE = 360
LONGEST_SIDE = 1920
_GOLDEN_RATIO = 0.618033988749895


def instance_color(index: int) -> Color:
    """A colour for the instance of this number; neighbours in number are far apart in hue."""
    hue = (0.58 + index * _GOLDEN_RATIO) % 1.0
    lightness = (0.55, 0.42, 0.66)[(index // 7) % 3]
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, 0.9)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_overlay(
    image: Image.Image,
    found: Sequence[Instance],
    numbers: Sequence[int] | None = None,
    factor: int | None = None,
) -> Image.Image:
    """Picture with every instance drawn on it.

    Args:
        image: RGB picture, W x H.
        found: what was found in it.
        numbers: of the instances, for their colours; by default their places in the list.
        factor: whole number to enlarge by; by default :func:`magnification` where something was
            found.

    Returns:
        A new RGB picture of the same size, or a whole multiple of it where the picture is too
        small for letters. Weak instances are drawn first, so that strong ones lie on top.
    """
    from PIL import Image, ImageDraw

    numbers = range(len(found)) if numbers is None else numbers
    if factor is None:
        factor = magnification(image.size) if found else 1
    if factor > 1:
        image = image.resize((image.width * factor, image.height * factor), resample=0)  # nearest
        found = [magnified(instance, factor) for instance in found]
    width, height = image.size
    pixels = np.array(image.convert("RGB"))
    order = sorted(range(len(found)), key=lambda i: found[i].score)
    line = max(1, round(min(width, height) / 250))
    for i in order:
        paint_mask(pixels, found[i], instance_color(numbers[i]), line)
    canvas = Image.fromarray(pixels)
    draw = ImageDraw.Draw(canvas)
    placed: list[Box] = []
    for i in order:
        draw_box(draw, found[i].box, instance_color(numbers[i]), line, canvas.size)
    for i in reversed(order):  # the best score picks its place first
        draw_label(draw, found[i], instance_color(numbers[i]), canvas.size, placed)
    return canvas


def magnification(size: tuple[int, int]) -> int:
    """Whole factor that makes the shorter side fit for letters, within a limit for the longer."""
    shorter, longer = sorted(size)
    return max(1, min(-(-READABLE_SIDE // shorter), LONGEST_SIDE // longer))


def magnified(instance: Instance, factor: int) -> Instance:
    """The instance in a picture enlarged by a whole factor, pixel by pixel."""
    x0, y0, x1, y1 = (v * factor for v in instance.box)
    return replace(
        instance,
        box=(x0, y0, x1, y1),
        top=instance.top * factor,
        left=instance.left * factor,
        inside=instance.inside.repeat(factor, axis=0).repeat(factor, axis=1),
    )


def paint_mask(pixels: np.ndarray, instance: Instance, color: Color, line: int) -> None:
    """Tint the inside of an instance and draw its contour, in place.

    Args:
        pixels: ``[H, W, 3]`` uint8.
        instance: where to paint.
        color: RGB.
        line: width of the contour in pixels; it lies inside the mask.
    """
    from scipy import ndimage

    inside = instance.inside
    if not inside.size:
        return
    height, width = inside.shape
    rows = slice(instance.top, instance.top + height)
    part = pixels[rows, instance.left : instance.left + width]
    paint = np.array(color, dtype=np.float32)
    part[inside] = np.rint(part[inside] * (1 - TINT) + paint * TINT).astype(np.uint8)
    core = ndimage.binary_erosion(inside, iterations=line, border_value=0)
    part[inside & ~core] = color


def draw_box(
    draw: ImageDraw.ImageDraw, box: Box, color: Color, line: int, size: tuple[int, int]
) -> None:
    """Outline of a box, cut at the border of the picture (boxes may reach beyond it)."""
    x0, y0, x1, y1 = clip_box(box, size)
    draw.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=color, width=line)


def clip_box(box: Box, size: tuple[int, int]) -> Box:
    """Box xyxy in pixels, limited to a picture of ``size`` (W, H), corners in order."""
    width, height = size
    x0, x1 = sorted(min(max(v, 0.0), float(width)) for v in (box[0], box[2]))
    y0, y1 = sorted(min(max(v, 0.0), float(height)) for v in (box[1], box[3]))
    return x0, y0, x1, y1


def draw_label(
    draw: ImageDraw.ImageDraw,
    instance: Instance,
    color: Color,
    size: tuple[int, int],
    placed: list[Box],
) -> None:
    """Phrase and score on a patch of the instance's colour, inside the picture, off other labels.

    Args:
        draw: canvas.
        instance: its phrase is cut with an ellipsis where it is wider than the picture.
        color: RGB of the patch; the letters are black or white, whichever reads better.
        size: (W, H) of the picture.
        placed: patches drawn so far; the new one is added.
    """
    from PIL import ImageFont

    width, height = size
    letter = max(6, min(max(10, round(min(width, height) / 32)), height // 3))
    font = ImageFont.load_default(letter)
    pad = max(1, letter // 5)
    text = fit_text(instance.phrase, f"{instance.score:.2f}", width - 2 * pad, font.getlength)
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    wide, tall = right - left + 2 * pad, bottom - top + 2 * pad
    x0, y0, _, y1 = clip_box(instance.box, size)
    x = min(x0, max(0.0, width - wide))
    y = free_row(x, wide, tall, [y0 - tall, y0, y1 - tall], height, placed)
    patch = (x, y, x + wide, y + tall)
    placed.append(patch)
    draw.rectangle(patch, fill=color)
    luminance = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    ink = "black" if luminance > 140 else "white"
    draw.text((x + pad - left, y + pad - top), text, font=font, fill=ink)


def fit_text(phrase: str, score: str, room: float, measure: Callable[[str], float]) -> str:
    """Phrase and score in one line of at most ``room`` pixels; the score is never cut."""
    text = f"{phrase} {score}"
    while measure(text) > room and phrase:
        phrase = phrase[:-1].rstrip()
        text = f"{phrase}… {score}" if phrase else score
    return text


def free_row(
    x: float, wide: float, tall: float, wishes: list[float], height: int, placed: list[Box]
) -> float:
    """Top of a patch that overlaps no earlier one: a wish if one is free, else the next row below.

    Args:
        x: left edge of the patch.
        wide: its width.
        tall: its height.
        wishes: tops in order of preference.
        height: height of the picture; the patch stays inside.
        placed: patches to keep off.

    Returns:
        The top; the first wish where every row is taken.
    """
    limit = max(0.0, height - tall)
    rows = [min(max(0.0, w), limit) for w in wishes]
    candidates = rows + [rows[0] + k * tall for k in range(1, int(limit // max(tall, 1)) + 1)]
    for y in candidates:
        clash = any(x < b[2] and x + wide > b[0] and y < b[3] and y + tall > b[1] for b in placed)
        if y <= limit and not clash:
            return y
    return rows[0]

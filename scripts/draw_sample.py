"""Draw sam3/assets/shapes.png, the bundled sample picture: coloured shapes on a hilly landscape.

    python scripts/dev.py run scripts/draw_sample.py [FILE]

Everything is drawn at three times the size and scaled down, so that edges are smooth.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

WIDTH, HEIGHT, SCALE = 640, 480, 3
OUTPUT = Path(__file__).resolve().parent.parent / "sam3" / "assets" / "shapes.png"

RED, GREEN, BLUE = (214, 40, 44), (46, 160, 67), (38, 84, 200)
YELLOW, WHITE, PURPLE, ORANGE = (250, 208, 30), (246, 246, 246), (128, 50, 160), (242, 128, 28)

# (kind, colour, centre x, centre y, radius, turn in degrees), in pixels of the final picture.
SHAPES = [
    ("circle", RED, 118, 130, 62, 0),
    ("triangle", BLUE, 310, 120, 74, 8),
    ("star", YELLOW, 512, 120, 78, -10),
    ("square", GREEN, 140, 342, 76, 14),
    ("circle", RED, 322, 356, 44, 0),
    ("cross", WHITE, 430, 300, 56, 20),
    ("triangle", PURPLE, 560, 370, 66, -20),
]


def corners(kind: str, radius: float) -> list[tuple[float, float]]:
    """Corners of a shape around the origin, the first one at the top."""
    if kind == "cross":
        arm, r = radius / 3, radius
        outline = [(arm, -r), (arm, -arm), (r, -arm), (r, arm), (arm, arm), (arm, r)]
        return outline + [(-x, -y) for x, y in outline]
    number = {"triangle": 3, "square": 4, "star": 10}[kind]
    shift = 45 if kind == "square" else 0
    points = []
    for k in range(number):
        r = radius * (0.42 if kind == "star" and k % 2 else 1.0)
        angle = math.radians(360 * k / number - 90 + shift)
        points.append((r * math.cos(angle), r * math.sin(angle)))
    return points


def rotated(
    points: list[tuple[float, float]], turn: float, x: float, y: float
) -> list[tuple[float, float]]:
    """Points turned by ``turn`` degrees and moved to (x, y)."""
    c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    return [(x + c * px - s * py, y + s * px + c * py) for px, py in points]


def landscape(rng: np.random.Generator) -> Image.Image:
    """Sky, two rows of hills and a meadow, with a soft grain."""
    y = np.linspace(0, 1, HEIGHT)[:, None, None]
    sky = np.array([140, 178, 208]) * (1 - y) + np.array([224, 216, 196]) * y
    pixels = np.broadcast_to(sky, (HEIGHT, WIDTH, 3)).copy()
    x = np.arange(WIDTH)
    rows = np.arange(HEIGHT)[:, None]
    for base, swing, colour in (
        (0.52, 34, (138, 150, 140)),
        (0.66, 22, (120, 134, 104)),
        (0.80, 12, (150, 140, 106)),
    ):
        phase = rng.uniform(0, 2 * math.pi, 3)
        ridge = sum(np.sin(x / (40.0 * (k + 1)) + phase[k]) for k in range(3)) * swing / 3
        inside = rows > (base * HEIGHT + ridge)[None, :]
        pixels[inside] = colour
    shade = ndimage.gaussian_filter(rng.normal(size=(HEIGHT, WIDTH)), 18)
    pixels += (shade / shade.std() * 5)[..., None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).filter(
        ImageFilter.GaussianBlur(1.2)
    )


def draw() -> Image.Image:
    """The whole picture, the same at every call."""
    image = landscape(np.random.default_rng(7)).resize((WIDTH * SCALE, HEIGHT * SCALE))
    shadow = Image.new("L", image.size, 0)
    for layer in ("shadow", "shape"):
        canvas = ImageDraw.Draw(shadow if layer == "shadow" else image)
        shift = 5 if layer == "shadow" else 0
        for kind, colour, x, y, radius, turn in SHAPES:
            fill = 110 if layer == "shadow" else colour
            cx, cy, r = (x + shift) * SCALE, (y + shift) * SCALE, radius * SCALE
            if kind == "circle":
                canvas.ellipse((cx - r, cy - r, cx + r, cy + r), fill=fill)
            else:
                canvas.polygon(rotated(corners(kind, r), turn, cx, cy), fill=fill)
        if layer == "shadow":
            soft = shadow.filter(ImageFilter.GaussianBlur(4 * SCALE))
            image = Image.composite(Image.new("RGB", image.size, (40, 40, 44)), image, soft)
    return image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def main(argv: list[str]) -> None:
    """Write the picture to the given file, or to its place in sam3/assets/."""
    path = Path(argv[0]) if argv else OUTPUT
    path.parent.mkdir(parents=True, exist_ok=True)
    draw().save(path, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])

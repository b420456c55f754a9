"""Backgrounds: flat, gradient, colour noise, soft checks and stripes, cloud-like and photo-like.

None contains a crisp shape that could pass for an object: whatever has edges is faint or blurred.
All return [h, w, 3] float32 in 0..255.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Size = tuple[int, int]

# Dark-to-light pairs as photographs have them: sky, grass, sand, wood, stone, sea, dusk, wall.
PALETTES: tuple[tuple[tuple[int, int, int], tuple[int, int, int]], ...] = (
    ((92, 136, 186), (214, 228, 240)),
    ((44, 66, 30), (150, 170, 100)),
    ((150, 126, 90), (226, 206, 170)),
    ((70, 48, 32), (168, 128, 90)),
    ((70, 72, 74), (180, 178, 172)),
    ((22, 52, 70), (120, 160, 170)),
    ((48, 36, 60), (210, 150, 130)),
    ((168, 160, 150), (236, 232, 224)),
    ((24, 26, 30), (90, 94, 100)),
)


def random_rgb(rng: np.random.Generator) -> np.ndarray:
    """A background colour: any, pastel, grey, white or black. [3] float32."""
    kind = rng.random()
    if kind < 0.35:
        return rng.uniform(0, 255, 3).astype(np.float32)
    if kind < 0.6:
        return rng.uniform(150, 250, 3).astype(np.float32)
    if kind < 0.75:
        return np.full(3, rng.uniform(20, 235), np.float32)
    if kind < 0.9:
        return np.full(3, rng.uniform(235, 255), np.float32)
    return np.full(3, rng.uniform(0, 30), np.float32)


def upsample(grid: np.ndarray, size: Size) -> np.ndarray:
    """Bicubic enlargement of a small [h, w] float grid to ``size``, float32."""
    image = Image.fromarray(np.ascontiguousarray(grid, dtype=np.float32))
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BICUBIC))


def flat(size: Size, rng: np.random.Generator) -> np.ndarray:
    """One colour."""
    return np.broadcast_to(random_rgb(rng), (*size, 3)).copy()


def _ramp(size: Size, rng: np.random.Generator) -> np.ndarray:
    """[h, w] values 0..1 rising along a random direction, or from a centre outwards."""
    y = np.linspace(-1, 1, size[0], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, size[1], dtype=np.float32)[None, :]
    if rng.random() < 0.25:
        cy, cx = rng.uniform(-0.6, 0.6, 2).astype(np.float32)
        return np.clip(np.sqrt((x - cx) ** 2 + (y - cy) ** 2) / 1.8, 0, 1)
    angle = rng.choice((0, 90, rng.uniform(0, 360))) * math.pi / 180
    u = x * np.float32(math.cos(angle)) + y * np.float32(math.sin(angle))
    return (u - u.min()) / max(1e-6, float(u.max() - u.min()))


def _blend(t: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return low + t[..., None] * (high - low)


def gradient(size: Size, rng: np.random.Generator) -> np.ndarray:
    """Linear or radial ramp between two colours."""
    return _blend(_ramp(size, rng), random_rgb(rng), random_rgb(rng))


def colour_noise(size: Size, rng: np.random.Generator) -> np.ndarray:
    """Coloured blobs of one random scale around one colour."""
    cells = int(rng.choice((3, 5, 8, 14, 24)))
    spread = rng.uniform(15, 90) if cells < 10 else rng.uniform(8, 40)
    grid = random_rgb(rng) + rng.normal(0, spread, (cells, cells, 3))
    return np.stack([upsample(grid[..., c], size) for c in range(3)], -1)


def pixel_noise(size: Size, rng: np.random.Generator) -> np.ndarray:
    """Independent noise per pixel, strong, as simple test programs draw it."""
    low = rng.uniform(0, 120)
    high = low + rng.uniform(20, 130)
    depth = 3 if rng.random() < 0.7 else 1
    noise = rng.integers(int(low), int(high), (*size, depth), dtype=np.uint8)
    return np.broadcast_to(noise, (*size, 3)).astype(np.float32)


def _two_tones(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two neighbouring tones; far enough to be seen, too close to read as an object."""
    first = random_rgb(rng)
    step = rng.uniform(10, 38) * (1 if first.mean() < 128 else -1)
    return first, np.clip(first + step + rng.normal(0, 6, 3).astype(np.float32), 0, 255)


def checkerboard(size: Size, rng: np.random.Generator) -> np.ndarray:
    """Two close tones in a checker, upright."""
    cell = max(3.0, min(size) * rng.uniform(0.04, 0.2))
    y, x = np.arange(size[0])[:, None], np.arange(size[1])[None, :]
    odd = ((y // cell).astype(np.int32) + (x // cell).astype(np.int32)) % 2
    return _blend(odd.astype(np.float32), *_two_tones(rng))


def stripes(size: Size, rng: np.random.Generator) -> np.ndarray:
    """Two close tones in bands of any direction, with hard or soft edges."""
    period = max(4.0, min(size) * rng.uniform(0.05, 0.4))
    angle = rng.uniform(0, math.pi)
    u = np.arange(size[0], dtype=np.float32)[:, None] * np.float32(math.sin(angle)) + np.arange(
        size[1], dtype=np.float32
    )[None, :] * np.float32(math.cos(angle))
    wave = np.sin(u * np.float32(2 * math.pi / period))
    t = (wave > 0).astype(np.float32) if rng.random() < 0.5 else 0.5 + 0.5 * wave
    return _blend(t, *_two_tones(rng))


def _fractal(size: Size, rng: np.random.Generator, decay: float) -> np.ndarray:
    """Sum of octaves with amplitudes 1, decay, decay^2 ...: [h, w] float32, scaled to 0..1."""
    total = np.zeros(size, dtype=np.float32)
    cells, amplitude = int(rng.integers(2, 5)), 1.0
    while cells < min(size) // 2 and amplitude > 0.02:
        total += amplitude * upsample(rng.normal(size=(cells, cells)), size)
        cells, amplitude = cells * 2, amplitude * decay
    low, high = np.percentile(total[:: max(1, size[0] // 64), :: max(1, size[1] // 64)], (2, 98))
    return np.clip((total - low) / max(1e-6, float(high - low)), 0, 1)


def clouds(size: Size, rng: np.random.Generator) -> np.ndarray:
    """Fractal noise tinted with a natural palette."""
    low, high = (np.array(tone, dtype=np.float32) for tone in PALETTES[rng.integers(len(PALETTES))])
    image = _blend(_fractal(size, rng, rng.uniform(0.4, 0.75)), low, high)
    return image + rng.normal(0, 10, 3).astype(np.float32)


def horizon(size: Size, rng: np.random.Generator) -> np.ndarray:
    """Two textured zones (sky over ground, wall over floor) with a soft, uneven border."""
    top, bottom = clouds(size, rng), clouds(size, rng)
    y = np.arange(size[0], dtype=np.float32)[:, None]
    line = upsample(rng.normal(0, 0.06, (1, 6)), (1, size[1])) + rng.uniform(0.3, 0.75)
    t = np.clip((y / size[0] - line) * rng.uniform(8, 60) + 0.5, 0, 1)
    return top + t[..., None] * (bottom - top)


def collage(size: Size, rng: np.random.Generator) -> np.ndarray:
    """Many large, strongly blurred patches: an out-of-focus room or street."""
    scale = min(1.0, 96 / min(size))
    small = (max(8, round(size[0] * scale)), max(8, round(size[1] * scale)))
    base = PALETTES[rng.integers(len(PALETTES))][rng.integers(2)]
    image = Image.new("RGB", (small[1], small[0]), base)
    pen = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(5, 16))):
        tone = np.array(PALETTES[rng.integers(len(PALETTES))][rng.integers(2)]) + rng.normal(
            0, 18, 3
        )
        points = rng.uniform(-0.2, 1.2, (4, 2)) * (small[1], small[0])
        fill = tuple(int(v) for v in np.clip(tone, 0, 255))
        pen.polygon([(float(a), float(b)) for a, b in points], fill=fill)
    image = image.filter(ImageFilter.GaussianBlur(min(small) * rng.uniform(0.06, 0.14)))
    image = image.resize((size[1], size[0]), Image.Resampling.BICUBIC)
    grain = (_fractal(size, rng, 0.85) - 0.5)[..., None] * rng.uniform(0, 40)
    return np.asarray(image, dtype=np.float32) + grain


SIMPLE: tuple[tuple[Callable[[Size, np.random.Generator], np.ndarray], float], ...] = (
    (flat, 0.45),
    (gradient, 0.3),
    (colour_noise, 0.25),
)
ALL: tuple[tuple[Callable[[Size, np.random.Generator], np.ndarray], float], ...] = (
    (flat, 0.2),
    (gradient, 0.15),
    (colour_noise, 0.13),
    (pixel_noise, 0.07),
    (checkerboard, 0.06),
    (stripes, 0.06),
    (clouds, 0.13),
    (horizon, 0.1),
    (collage, 0.1),
)


def draw_background(size: Size, rng: np.random.Generator, simple: bool = False) -> np.ndarray:
    """A random background of ``size`` (h, w): [h, w, 3] float32 clipped to 0..255."""
    choices = SIMPLE if simple else ALL
    weights = np.array([weight for _, weight in choices])
    draw = choices[rng.choice(len(choices), p=weights / weights.sum())][0]
    image = draw(size, rng)
    if not simple and rng.random() < 0.2:
        image = image * (1 - rng.uniform(0.15, 0.5) * _vignette(size))[..., None]
    return np.clip(image, 0, 255).astype(np.float32)


def _vignette(size: Size) -> np.ndarray:
    y = np.linspace(-1, 1, size[0], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, size[1], dtype=np.float32)[None, :]
    return (x * x + y * y) / 2

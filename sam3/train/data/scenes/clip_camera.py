"""Camera faults of a clip: chosen once, the same in all its frames; only noise differs."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter


@dataclass(frozen=True)
class Camera:
    """noise: standard deviation in grey levels; blur: radius for 256 pixels; quality: of JPEG.

    None or 0 = without that fault.
    """

    noise: float = 0.0
    grey_noise: bool = False
    blur: float = 0.0
    quality: int | None = None

    def take(self, canvas: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A picture of the canvas: [h, w, 3] float32 in 0..255 -> uint8."""
        if self.noise:
            shape = (*canvas.shape[:2], 1 if self.grey_noise else 3)
            canvas = canvas + self.noise * rng.standard_normal(shape, dtype=np.float32)
        image = Image.fromarray(np.clip(np.rint(canvas), 0, 255).astype(np.uint8))
        if self.blur:
            radius = self.blur * max(1.0, min(image.size) / 256)
            image = image.filter(ImageFilter.GaussianBlur(radius))
        if self.quality:
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=self.quality)
            image = Image.open(buffer).convert("RGB")
        return np.array(image)


def sample_camera(rng: np.random.Generator, level: int) -> Camera:
    """Each fault now and then; none at level 0."""
    if level == 0:
        return Camera()
    return Camera(
        noise=float(rng.uniform(1, 9)) if rng.random() < 0.35 else 0.0,
        grey_noise=bool(rng.random() < 0.5),
        blur=float(rng.uniform(0.3, 0.9)) if rng.random() < 0.2 else 0.0,
        quality=int(rng.integers(35, 96)) if rng.random() < 0.25 else None,
    )

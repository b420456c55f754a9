"""From one frame's pixels to the square, normalised tensor [3, S, S] the models take.

Each kind of source keeps the published resize filter and number format, because both move scores
visibly. All of them scale to [0, 1] before the mean is subtracted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from ...errors import InputError


@dataclass(frozen=True)
class FrameFormat:
    """Side of the square model input in pixels, and its normalisation (pixel - mean) / std."""

    size: int
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        if self.size < 1 or len(self.mean) != 3 or len(self.std) != 3 or 0 in self.std:
            raise InputError(
                "frames need a size of at least 1 and three values of mean and non-zero std, got "
                f"{self.size}, {self.mean}, {self.std}"
            )

    def normalise(self, unit: Tensor) -> Tensor:
        """[3, S, S] in 0..1 -> normalised, in its own dtype and on its own device."""
        mean, std = (
            torch.tensor(values, dtype=unit.dtype, device=unit.device)[:, None, None]
            for values in (self.mean, self.std)
        )
        return (unit - mean) / std


def from_picture(
    image: PIL.Image.Image,
    spec: FrameFormat,
    resample: PIL.Image.Resampling,
    dtype: torch.dtype,
) -> Tensor:
    """A PIL picture of any mode -> normalised [3, S, S] of ``dtype`` on the CPU."""
    image = image.convert("RGB").resize((spec.size, spec.size), resample)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    return spec.normalise((pixels.float() / 255).to(dtype).contiguous())


def from_decoded(frame: Tensor, spec: FrameFormat, device: torch.device) -> Tensor:
    """A decoded video frame, uint8 [3, H, W] -> normalised float32 [3, S, S] on ``device``.

    Bicubic without antialiasing, rounded to whole pixel values, as OpenCV does it.
    """
    pixels = _bicubic(frame.to(device).float(), spec.size).round().clamp(0, 255)
    return spec.normalise(pixels / 255)


def from_decoded_half(frame: Tensor, spec: FrameFormat, device: torch.device) -> Tensor:
    """As :func:`from_decoded`, without rounding to pixel values and in float16."""
    pixels = _bicubic(frame.to(device).float(), spec.size)
    return spec.normalise(pixels.half() / 255)


def _bicubic(pixels: Tensor, size: int) -> Tensor:
    return torch.nn.functional.interpolate(
        pixels[None], (size, size), mode="bicubic", align_corners=False, antialias=False
    )[0]

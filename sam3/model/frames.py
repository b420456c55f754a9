"""From a picture of any kind to the square, normalised tensor the model takes.

The reference resizes uint8 pixels with antialiasing and without keeping the aspect, then scales to
[-1, 1]; the same order is kept here because rounding happens on uint8.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image
import torch
import torchvision.transforms.v2.functional as TF
from torch import Tensor
from torchvision.transforms import InterpolationMode

from ..errors import InputError

MEAN = STD = 0.5


def to_uint8_rgb(image: Any) -> Tensor:
    """A PIL picture, CHW tensor or HWC/CHW array as uint8 [3, H, W].

    Floats must lie in [0, 1]; grey is repeated, alpha dropped. InputError for anything else.
    """
    if isinstance(image, PIL.Image.Image):
        if 0 in image.size:
            raise InputError(f"the picture has no pixels: size {image.size}")
        return TF.pil_to_tensor(image if image.mode == "RGB" else image.convert("RGB"))
    if isinstance(image, np.ndarray):
        image = _chw(image)
    if not isinstance(image, Tensor):
        raise InputError(
            f"cannot read a picture from {type(image).__name__}; allowed are a PIL image,"
            " a [C, H, W] tensor or an [H, W, C] array"
        )
    if image.ndim == 2:
        image = image[None]
    if image.ndim != 3 or image.shape[0] not in (1, 3, 4) or 0 in image.shape:
        raise InputError(
            f"a picture tensor must be [C, H, W] with 1, 3 or 4 channels, got {tuple(image.shape)}"
        )
    if image.is_floating_point():
        _check_unit_range(image)
    elif image.dtype != torch.uint8:
        raise InputError(f"a picture must be uint8 or float in [0, 1], got {image.dtype}")
    image = image[:3].expand(3, -1, -1) if image.shape[0] == 1 else image[:3]
    return TF.to_dtype(image, torch.uint8, scale=True)


def _chw(array: np.ndarray) -> Tensor:
    """An array as a CHW tensor; the last axis is taken for channels where it can be one."""
    tensor = torch.from_numpy(np.array(array, order="C"))  # a copy: arrays may be read-only
    if tensor.ndim == 3 and tensor.shape[-1] in (1, 3, 4):
        return tensor.permute(2, 0, 1)  # arrays are HWC by custom, also where both readings fit
    if tensor.ndim == 3 and tensor.shape[0] not in (1, 3, 4):
        raise InputError(f"an array must be [H, W, C] or [C, H, W], got {tuple(array.shape)}")
    return tensor


def _check_unit_range(image: Tensor) -> None:
    low, high = image.aminmax()
    if not (torch.isfinite(low) and torch.isfinite(high)) or low < 0 or high > 1:
        raise InputError(
            f"float pixels must be finite and in [0, 1], found {float(low):.4g} to"
            f" {float(high):.4g}; divide by 255 or clamp first"
        )


def preprocess(
    images: Sequence[Tensor], resolution: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """uint8 [3, H, W] pictures -> normalised [B, 3, resolution, resolution] on ``device``."""
    size = [resolution, resolution]
    batch = [
        TF.resize(image.to(device), size, InterpolationMode.BILINEAR, antialias=True)
        for image in images
    ]
    pixels = TF.to_dtype(torch.stack(batch), torch.float32, scale=True)
    return TF.normalize(pixels, [MEAN] * 3, [STD] * 3).to(dtype)

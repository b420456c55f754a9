"""Image tensors as ComfyUI passes them, made safe: any channel count, NaN, infinity, any range."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import InputError

if TYPE_CHECKING:
    from PIL import Image

_CHANNELS = (1, 3, 4)


def check_images(images: Tensor) -> None:
    """Check a batch of pictures.

    Args:
        images: ``[B, H, W, C]`` float with C = 1 (grey), 3 (RGB) or 4 (RGBA); B may be 0.

    Raises:
        InputError: anything else; the message has the shape found and what is allowed.
    """
    allowed = "[B, H, W, C] with C = 1 (grey), 3 (RGB) or 4 (RGBA)"
    if not isinstance(images, Tensor):
        raise InputError(f"An image must be a tensor {allowed}, got {type(images).__name__}.")
    shape = tuple(images.shape)
    if images.ndim != 4 or shape[3] not in _CHANNELS:
        raise InputError(f"An image must be {allowed}, got shape {list(shape)}.")
    if shape[1] < 1 or shape[2] < 1:
        raise InputError(f"The image has no pixels: its shape is {list(shape)}.")
    if not images.is_floating_point():
        raise InputError(
            f"An image must hold floats in 0..1, got {images.dtype}. Divide 8-bit values by 255."
        )


def clean_rgb(image: Tensor) -> Tensor:
    """Finite RGB floats: grey is repeated, alpha dropped, NaN becomes 0, infinity its nearer end.

    Finite values are kept bit by bit, those outside 0..1 too.

    Args:
        image: ``[..., C]`` float with C = 1, 3 or 4.

    Returns:
        ``[..., 3]`` float32, on the same device.
    """
    rgb = image.expand(*image.shape[:-1], 3) if image.shape[-1] == 1 else image[..., :3]
    return torch.nan_to_num(rgb.to(torch.float32), nan=0.0, posinf=1.0, neginf=0.0)


def to_pil(image: Tensor) -> Image.Image:
    """8-bit RGB picture for the model.

    Args:
        image: ``[H, W, C]`` float with C = 1, 3 or 4; values outside 0..1 are clipped.

    Returns:
        PIL image, mode RGB, W x H.
    """
    from PIL import Image

    pixels = (clean_rgb(image).clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)
    return Image.fromarray(pixels.cpu().contiguous().numpy())


def from_pil(picture: Image.Image) -> Tensor:
    """Float tensor of a picture of any mode.

    Args:
        picture: PIL image; transparency is dropped.

    Returns:
        ``[H, W, 3]`` float32 in 0..1 on the CPU.
    """
    import numpy as np

    return torch.from_numpy(np.array(picture.convert("RGB"), dtype=np.float32) / 255.0)

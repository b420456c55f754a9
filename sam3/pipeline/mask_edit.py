"""Grow or shrink, blur and invert masks: always in this order, each once.

Masks are float tensors ``[H, W]`` or ``[B, H, W]`` in 0..1 (bool is taken too). What lies outside
the picture is unknown, not empty: shrinking or blurring never eats into an object from the border.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import InputError

_BLUR_REACH = 4.0  # standard deviations the Gaussian is followed
_BLUR_NOISE = 1e-5  # above the rounding of the Fourier transforms, far below one 8-bit step


def offset_mask(mask: Tensor, offset: int) -> Tensor:
    """Grow (positive) or shrink (negative) a mask by exactly ``offset`` pixels.

    The distance is counted as the larger of the horizontal and the vertical one, so the shape is
    a square of side ``2 * offset + 1``: what a max filter of that size does, corners stay corners.

    Args:
        mask: ``[H, W]`` or ``[B, H, W]``, float or bool, any values (grey masks keep their levels).
        offset: pixels; 0 leaves the mask alone.

    Returns:
        Tensor of the same shape, device and dtype.

    Raises:
        InputError: wrong shape, or an offset that is not a whole number.
    """
    mask = _checked(mask)
    if isinstance(offset, bool) or not isinstance(offset, int):
        raise InputError(f"The mask offset must be a whole number of pixels, got {offset!r}.")
    if offset == 0 or mask.numel() == 0:
        return mask
    for dim in (-1, -2):
        mask = _window_extreme(mask, dim, abs(offset), grow=offset > 0)
    return mask


def blur_mask(mask: Tensor, radius: float) -> Tensor:
    """Soften a mask with a Gaussian.

    Args:
        mask: ``[H, W]`` or ``[B, H, W]``, float or bool.
        radius: standard deviation in pixels (what image editors and PIL call the radius).

    Returns:
        Float tensor of the same shape and device, clipped to 0..1. Far from every edge the values
        are exactly 0 or 1 where they were.

    Raises:
        InputError: wrong shape, or a radius that is negative or not a number.
    """
    mask = _checked(mask)
    if isinstance(radius, bool) or not 0 <= radius < float("inf"):
        raise InputError(f"The mask blur must be 0 or more pixels, got {radius!r}.")
    mask = mask if mask.is_floating_point() else mask.to(torch.float32)
    if radius == 0 or mask.numel() == 0:
        return mask
    frames = mask.reshape(-1, *mask.shape[-2:]).to(torch.float32)
    blurred = torch.stack([_blur_frame(frame, float(radius)) for frame in frames])
    return blurred.reshape(mask.shape).to(mask.dtype)


def invert(mask: Tensor) -> Tensor:
    """``1 - mask``; an empty mask becomes all ones.

    Args:
        mask: ``[H, W]`` or ``[B, H, W]``, float or bool.

    Raises:
        InputError: wrong shape.
    """
    mask = _checked(mask)
    return 1.0 - (mask if mask.is_floating_point() else mask.to(torch.float32))


def edit_mask(mask: Tensor, offset: int = 0, blur: float = 0, invert_mask: bool = False) -> Tensor:
    """Offset, then blur, then invert, each at most once.

    Args:
        mask: ``[H, W]`` or ``[B, H, W]``, float in 0..1 or bool.
        offset: pixels to grow (positive) or shrink (negative).
        blur: standard deviation of the Gaussian in pixels.
        invert_mask: whether to return the complement.

    Returns:
        Float tensor of the same shape and device, 0..1.

    Raises:
        InputError: see the single functions.
    """
    mask = blur_mask(offset_mask(mask, offset), blur)
    return invert(mask) if invert_mask else mask


def _checked(mask: Tensor) -> Tensor:
    """The mask itself (bool or float), or an error that names the shapes allowed."""
    if not isinstance(mask, Tensor) or mask.ndim not in (2, 3):
        got = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise InputError(f"A mask must be a tensor [H, W] or [B, H, W], got {got}.")
    return mask if mask.is_floating_point() or mask.dtype == torch.bool else mask.to(torch.float32)


def _window_extreme(mask: Tensor, dim: int, reach: int, grow: bool) -> Tensor:
    """Largest (``grow``) or smallest value within ``reach`` pixels along one axis.

    Windows are doubled until they cover ``2 * reach + 1``: the cost grows with its logarithm.
    """
    size = mask.shape[dim]
    reach = min(reach, size - 1)
    if reach == 0:
        return mask
    pick = torch.maximum if grow else torch.minimum
    padding = (reach, reach) if dim == -1 else (0, 0, reach, reach)
    neutral = float("-inf") if grow else float("inf")
    if mask.dtype == torch.bool:
        neutral = 0.0 if grow else 1.0
    current = torch.nn.functional.pad(mask, padding, value=neutral)
    covered, window = 1, 2 * reach + 1
    while covered * 2 <= window:
        length = current.shape[dim] - covered
        current = pick(current.narrow(dim, 0, length), current.narrow(dim, covered, length))
        covered *= 2
    return pick(current.narrow(dim, 0, size), current.narrow(dim, window - covered, size))


def _blur_frame(frame: Tensor, radius: float) -> Tensor:
    """Gaussian blur of one ``[H, W]`` float32 frame, the border pixels repeated outwards.

    In Fourier space, because the cost then does not depend on the radius.
    """
    from scipy.fft import next_fast_len

    height, width = frame.shape
    reach = math.ceil(_BLUR_REACH * radius)
    steps = torch.arange(-reach, reach + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (steps / radius) ** 2)
    kernel = (kernel / kernel.sum()).to(frame)
    padded = torch.nn.functional.pad(frame[None, None], (reach,) * 4, mode="replicate")[0, 0]
    size = (next_fast_len(height + 2 * reach, True), next_fast_len(width + 2 * reach, True))
    spectrum = torch.fft.rfft2(padded, s=size)
    spectrum *= torch.fft.fft(kernel, size[0])[:, None]
    spectrum *= torch.fft.rfft(kernel, size[1])[None, :]
    blurred = torch.fft.irfft2(spectrum, s=size)
    # A full convolution: the picture starts after the padding and the kernel's own half width.
    blurred = blurred[2 * reach :, 2 * reach :][:height, :width]
    blurred = torch.where(blurred < _BLUR_NOISE, 0.0, blurred)
    return torch.where(blurred > 1.0 - _BLUR_NOISE, 1.0, blurred)

"""Euclidean distance transform of a batch of masks: Triton on CUDA, SciPy everywhere else."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InputError, MissingDependencyError
from ..perflib.capabilities import has_triton

# Distance in an image without a single zero pixel: the root of 1e18, which stands for infinity.
NO_ZERO_DISTANCE = 1e9


def edt(data: Tensor) -> Tensor:
    """Distance of every pixel to the nearest zero pixel of its image.

    data [B, H, W], bool or any number type; non-zero pixels get a distance, zero pixels 0. An
    image without a zero pixel is 1e9 everywhere. Returns float32 [B, H, W] on the same device:
    the correctly rounded root of the exact squared distance, whichever backend runs.

    Raises InputError for another shape.
    """
    _check(data)
    return edt_triton(data) if data.is_cuda and has_triton() else edt_scipy(data)


def edt_triton(data: Tensor) -> Tensor:
    """:func:`edt` by the Triton kernel; needs CUDA, or ``TRITON_INTERPRET=1`` on the CPU."""
    _check(data)
    from ..perflib.triton.edt import INFINITE, squared_distance

    squared = squared_distance(data != 0)
    distance = squared.double().sqrt().float()
    return distance.masked_fill(squared >= INFINITE, NO_ZERO_DISTANCE)


def edt_scipy(data: Tensor) -> Tensor:
    """:func:`edt` by SciPy, image after image on the CPU."""
    _check(data)
    try:
        from scipy.ndimage import distance_transform_edt
    except ImportError as error:
        raise MissingDependencyError(
            "the distance transform on this device needs SciPy: pip install scipy"
        ) from error
    images = (data != 0).cpu()
    distance = torch.full(images.shape, NO_ZERO_DISTANCE, dtype=torch.float32)
    for image, out in zip(images, distance, strict=True):
        if not image.all():
            out.copy_(torch.from_numpy(distance_transform_edt(image.numpy())))
    return distance.to(data.device)


def _check(data: Tensor) -> None:
    if data.ndim != 3:
        raise InputError(
            f"a distance transform needs a batch of images [B, H, W], got {tuple(data.shape)}"
        )

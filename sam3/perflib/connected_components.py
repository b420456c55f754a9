"""Connected components of binary masks, 8-connectivity.

Backends: on CUDA the extension ``cc_torch``, else the Triton kernels, else (and on every other
device) scikit-image. They agree on components and areas; only the numbers that name a component
differ: scikit-image counts 1, 2, ... in each image, Triton takes the component's smallest
row-major pixel index + 1, ``cc_torch`` what it likes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError, MissingDependencyError
from .capabilities import has_cc_torch, has_triton

_log = logging.getLogger(__name__)
_broken_backends: set[str] = set()

Labelled = tuple[Tensor, Tensor]


def connected_components(mask: Tensor) -> Labelled:
    """Label the 8-connected components of each mask.

    Args:
        mask: bool or uint8 [B, H, W] or [B, 1, H, W]; every non-zero pixel is foreground. B may
            be 0.

    Returns: (labels, counts), both int32, shaped like ``mask`` and on its device. Background is 0
    in both; a component has one positive label, unique within its image, and in ``counts`` its
    area in pixels. Raises InputError for other shapes or dtypes.
    """
    if mask.dtype not in (torch.bool, torch.uint8):
        raise InputError(
            f"connected components need a bool or uint8 mask, got {mask.dtype}; "
            "compare logits with 0 first"
        )
    if mask.ndim not in (3, 4) or (mask.ndim == 4 and mask.shape[1] != 1):
        raise InputError(
            f"a mask must be [B, H, W] or [B, 1, H, W], got {tuple(mask.shape)}; "
            "add a batch axis with mask[None]"
        )
    if mask.numel() == 0:
        empty = torch.zeros(mask.shape, dtype=torch.int32, device=mask.device)
        return empty, empty.clone()
    flat = mask.reshape(-1, *mask.shape[-2:])
    labels, counts = _choose_and_run(flat)
    return labels.reshape(mask.shape), counts.reshape(mask.shape)


def _choose_and_run(mask: Tensor) -> Labelled:
    if mask.is_cuda:
        backends: tuple[tuple[str, bool, Callable[[Tensor], Labelled]], ...] = (
            ("cc_torch", has_cc_torch(), _run_cc_torch),
            ("triton", has_triton(), _run_triton),
        )
        for name, available, run in backends:
            if not available or name in _broken_backends:
                continue
            try:
                return run(mask)
            except Exception as error:  # missing compiler, driver mismatch, ...: one answer
                _broken_backends.add(name)
                _log.warning(
                    "connected-components backend %s does not work here (%s); using the next one",
                    name,
                    error,
                )
    return connected_components_cpu(mask)


def _run_cc_torch(mask: Tensor) -> Labelled:
    """The CUDA extension, which takes even sizes only: odd ones get a row or column of zeros."""
    from cc_torch import get_connected_components

    height, width = mask.shape[-2:]
    padded = torch.nn.functional.pad((mask != 0).to(torch.uint8), (0, width % 2, 0, height % 2))
    labels, counts = get_connected_components(padded[:, None].contiguous())
    crop = (slice(None), 0, slice(height), slice(width))
    return labels[crop].to(torch.int32), counts[crop].to(torch.int32)


def _run_triton(mask: Tensor) -> Labelled:
    from .triton.connected_components import connected_components_triton

    return connected_components_triton(mask)


def connected_components_cpu(mask: Tensor) -> Labelled:
    """The scikit-image backend: [B, H, W] on any device -> int32 labels and areas there."""
    try:
        from skimage.measure import label
    except ImportError as error:
        raise MissingDependencyError(
            "connected components on this device need scikit-image: pip install scikit-image"
        ) from error
    images = (mask != 0).cpu().numpy()
    labels = np.zeros(images.shape, dtype=np.int32)
    counts = np.zeros(images.shape, dtype=np.int32)
    for image, own_labels, own_counts in zip(images, labels, counts, strict=True):
        own_labels[:] = label(image, connectivity=2)
        areas = np.bincount(own_labels.ravel())
        areas[0] = 0
        own_counts[:] = areas[own_labels]
    return torch.from_numpy(labels).to(mask.device), torch.from_numpy(counts).to(mask.device)

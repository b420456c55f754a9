"""Triton kernels that label connected components; the CPU twin is scikit-image.

Every pixel starts as its own root. Neighbours of the foreground are united by an atomic minimum
on the larger root, so that the root of a component ends as its smallest pixel index. Reading a
parent that another program has just replaced does no harm: it still leads into the same
component, and the atomic minimum returns the value that was really there.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

_BLOCK = 1024
_MAX_PIXELS = 1 << 30  # pixel offsets within one launch are 32-bit integers


@cache
def _kernels() -> Any:
    """Import Triton and build the kernels, once: (unite, flatten, gather_areas)."""
    global tl, find_root  # the kernels' source is compiled against this module's globals
    import triton
    import triton.language as tl

    @triton.jit
    def find_root(parents, node, inside):  # type: ignore[name-defined]
        parent = tl.load(parents + node, mask=inside, other=0, volatile=True)
        parent = tl.where(inside, parent, node)
        while tl.sum((parent != node).to(tl.int32), axis=0) > 0:
            node = parent
            parent = tl.load(parents + node, mask=inside, other=0, volatile=True)
            parent = tl.where(inside, parent, node)
        return node

    @triton.jit
    def unite(parents, size, width, DY: tl.constexpr, DX: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[name-defined]
        # Unites each foreground pixel with its neighbour at (DY, DX), DY <= 0.
        parents += tl.program_id(1) * size
        pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        x = pixel % width + DX
        other = pixel + DY * width + DX
        active = (pixel < size) & (other >= 0) & (x >= 0) & (x < width)
        active &= tl.load(parents + pixel, mask=active, other=-1, volatile=True) >= 0
        active &= tl.load(parents + other, mask=active, other=-1, volatile=True) >= 0
        first = tl.where(active, pixel, 0)
        second = tl.where(active, other, 0)
        while tl.sum(active.to(tl.int32), axis=0) > 0:
            first = find_root(parents, first, active)
            second = find_root(parents, second, active)
            active &= first != second
            high = tl.maximum(first, second)
            low = tl.minimum(first, second)
            old = tl.atomic_min(parents + high, low, mask=active)
            # If high was no root any more, its old parent still has to be united with low.
            active &= old != high
            first = tl.where(active, old, 0)
            second = tl.where(active, low, 0)

    @triton.jit
    def flatten(parents, labels, areas, size, BLOCK: tl.constexpr):  # type: ignore[name-defined]
        # Writes root + 1 (0 for background) and counts the pixels of each root.
        start = tl.program_id(1) * size
        pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        inside = pixel < size
        foreground = tl.load(parents + start + pixel, mask=inside, other=-1) >= 0
        root = find_root(parents + start, tl.where(foreground, pixel, 0), foreground)
        tl.store(labels + start + pixel, tl.where(foreground, root + 1, 0), mask=inside)
        tl.atomic_add(areas + start + root, 1, mask=foreground)

    @triton.jit
    def gather_areas(labels, areas, counts, size, BLOCK: tl.constexpr):  # type: ignore[name-defined]
        start = tl.program_id(1) * size
        pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        inside = pixel < size
        label = tl.load(labels + start + pixel, mask=inside, other=0)
        area = tl.load(areas + start + label - 1, mask=inside & (label > 0), other=0)
        tl.store(counts + start + pixel, area, mask=inside)

    return unite, flatten, gather_areas


def connected_components_triton(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Label [B, H, W] masks (non-zero = foreground): int32 (labels, areas) of the same shape.

    A label is the component's smallest row-major pixel index within its image, + 1.
    """
    images = max(1, _MAX_PIXELS // max(1, mask[0].numel())) if len(mask) else 1
    parts = [_label(part) for part in mask.split(images)] if mask.numel() else []
    if not parts:
        empty = torch.zeros(mask.shape, dtype=torch.int32, device=mask.device)
        return empty, empty.clone()
    labels, counts = zip(*parts, strict=True)
    return torch.cat(labels), torch.cat(counts)


def _label(mask: Tensor) -> tuple[Tensor, Tensor]:
    batch, height, width = mask.shape
    size = height * width
    unite, flatten, gather_areas = _kernels()
    index = torch.arange(size, dtype=torch.int32, device=mask.device).expand(batch, size)
    parents = torch.where(mask.reshape(batch, size) != 0, index, -1).contiguous()
    labels, counts = torch.empty_like(parents), torch.empty_like(parents)
    areas = torch.zeros_like(parents)
    grid = ((size + _BLOCK - 1) // _BLOCK, batch)
    for dy, dx in ((0, -1), (-1, 0), (-1, -1), (-1, 1)):
        unite[grid](parents, size, width, DY=dy, DX=dx, BLOCK=_BLOCK)
    flatten[grid](parents, labels, areas, size, BLOCK=_BLOCK)
    gather_areas[grid](labels, areas, counts, size, BLOCK=_BLOCK)
    return labels.reshape(mask.shape), counts.reshape(mask.shape)

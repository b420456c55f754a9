"""Small stand-ins with the real names: every released tensor, its sizes divided by 64.

``names.json.gz`` lists [name, shape, dtype] of the published models.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

Entries = list[tuple[str, list[int], str]]
NAMES = Path(__file__).parents[2] / "golden" / "image" / "names.json.gz"


class NamedTensors(nn.Module):
    """A module whose state dict has exactly the given names, shapes and dtypes."""

    def __init__(self, entries: Entries, device: str = "meta") -> None:
        super().__init__()
        for name, shape, dtype in entries:
            *path, leaf = name.split(".")
            owner: nn.Module = self
            for part in path:
                if part not in owner._modules:
                    owner.add_module(part, nn.Module())
                owner = owner._modules[part]
            tensor = torch.zeros(shape, dtype=getattr(torch, dtype), device=device)
            if tensor.is_complex():
                owner.register_buffer(leaf, tensor)
            else:
                owner.register_parameter(leaf, nn.Parameter(tensor))


def shrink(entries: Entries) -> Entries:
    """Divide every size that is a multiple of 64 by 64."""
    return [
        (name, [n // 64 if n % 64 == 0 else n for n in shape], dtype)
        for name, shape, dtype in entries
    ]


@pytest.fixture(scope="session")
def names() -> dict[str, Entries]:
    """Full-size entries: image, image_interactive_extra, sam3 (published file), sam31."""
    return json.loads(gzip.decompress(NAMES.read_bytes()))


@pytest.fixture(scope="session")
def small(names: dict[str, Entries]) -> dict[str, Entries]:
    """The same entries at 1/64 of the widths."""
    return {key: shrink(entries) for key, entries in names.items()}


@pytest.fixture(scope="session")
def random_state() -> Callable[..., dict[str, torch.Tensor]]:
    """Factory: entries -> random tensors that differ from name to name."""

    def make(entries: Entries, dtype: torch.dtype | None = None) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(7)
        state = {}
        for name, shape, kind in entries:
            own = getattr(torch, kind)
            tensor = torch.randn(shape, dtype=own, generator=generator)
            state[name] = tensor if dtype is None or tensor.is_complex() else tensor.to(dtype)
        return state

    return make


@pytest.fixture
def image_model(small: dict[str, Entries]) -> NamedTensors:
    """The image model on the meta device, small widths, 1,134 names."""
    return NamedTensors(small["image"])


@pytest.fixture
def build() -> Callable[..., NamedTensors]:
    """Factory: entries (and device) -> module."""
    return NamedTensors

"""Small helpers of transformer stacks: clones, activations, layer scale, inverse sigmoid."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def get_clones(module: nn.Module, n: int) -> nn.ModuleList:
    """``n`` independent deep copies of ``module``."""
    return nn.ModuleList(copy.deepcopy(module) for _ in range(n))


def get_activation_fn(activation: str) -> Callable[[Tensor], Tensor]:
    """The function called ``relu``, ``gelu`` (exact) or ``glu``; ValueError otherwise."""
    table: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu, "glu": F.glu}
    if activation not in table:
        raise ValueError(f"unknown activation {activation!r}; allowed are {sorted(table)}")
    return table[activation]


def inverse_sigmoid(x: Tensor, eps: float = 1e-3) -> Tensor:
    """Logit of ``x`` clamped to [0, 1], both sides bounded below by ``eps``. Any shape."""
    x = x.clamp(min=0, max=1)
    return torch.log(x.clamp(min=eps) / (1 - x).clamp(min=eps))


class LayerScale(nn.Module):
    """Per-channel gain ``gamma`` on [..., dim] (Touvron et al. 2021, CaiT)."""

    def __init__(self, dim: int, init_values: float = 1e-5) -> None:
        super().__init__()
        self.gamma = nn.Parameter(init_values * torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


def check_fixed(owner: str, given: dict[str, Any], fixed: dict[str, Any]) -> None:
    """Accept keywords of the released constructors that have one supported value each.

    TypeError for a keyword outside ``fixed``, ValueError for another value than the one there:
    nothing is silently ignored.
    """
    for name, value in given.items():
        if name not in fixed:
            raise TypeError(f"{owner}() got an unexpected keyword argument {name!r}")
        if value != fixed[name]:
            raise ValueError(f"{owner}: {name}={value!r} is not supported, only {fixed[name]!r}")

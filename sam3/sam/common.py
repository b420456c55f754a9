"""Blocks shared by the SAM parts."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from ..layers.norm import LayerNorm2d

__all__ = ["LayerNorm2d", "MLPBlock"]


class MLPBlock(nn.Module):
    """Linear layers ``lin1`` and ``lin2`` with an activation between: [..., C] -> [..., C]."""

    def __init__(
        self, embedding_dim: int, mlp_dim: int, act: Callable[[], nn.Module] = nn.GELU
    ) -> None:
        super().__init__()
        self.lin1 = nn.Linear(embedding_dim, mlp_dim)
        self.lin2 = nn.Linear(mlp_dim, embedding_dim)
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        return self.lin2(self.act(self.lin1(x)))

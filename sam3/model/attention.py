"""Attention by the name and the keywords that configurations of experiments use."""

from __future__ import annotations

from typing import Any

from ..layers import attention
from ..layers.basic import check_fixed


class MultiheadAttention(attention.MultiheadAttention):
    """:class:`sam3.layers.attention.MultiheadAttention`, of the kind "Vanilla"."""

    def __init__(
        self,
        num_heads: int,
        embed_dim: int,
        dropout: float = 0.0,
        batch_first: bool = False,
        **fixed: Any,
    ) -> None:
        check_fixed("MultiheadAttention", fixed, {"attn_type": "Vanilla"})
        super().__init__(embed_dim, num_heads, dropout, batch_first)

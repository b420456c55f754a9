"""Multi-head attention on ``scaled_dot_product_attention``, with ``nn.MultiheadAttention``'s names.

Parameters are ``in_proj_weight`` [3E, E], ``in_proj_bias`` [3E], ``out_proj.{weight,bias}``, so
checkpoints of modules built on ``nn.MultiheadAttention`` load unchanged. Differences: attention
weights are never returned, and masks broadcast instead of being repeated per head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MultiheadAttention(nn.Module):
    """Attention of ``num_heads`` heads over ``embed_dim`` channels (Vaswani et al. 2017, 3.2.2).

    batch_first: inputs are [B, N, E] if True, [N, B, E] otherwise. ``dropout`` acts on the
    attention weights while training.
    """

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, batch_first: bool = False
    ) -> None:
        super().__init__()
        if embed_dim % num_heads:
            raise ValueError(f"embed_dim {embed_dim} is not a multiple of num_heads {num_heads}")
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.in_proj_weight = nn.Parameter(torch.empty(3 * embed_dim, embed_dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * embed_dim))
        self.out_proj = nn.Linear(embed_dim, embed_dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> tuple[Tensor, None]:
        """Attend. query [B, L, E], key/value [B, S, E] (or sequence first, see the class).

        key_padding_mask: [B, S] bool, True = ignore. attn_mask: additive float or bool (True =
        attend) broadcastable to [B, heads, L, S]. Returns (output shaped like query, None): the
        pair that ``nn.MultiheadAttention`` returns with ``need_weights=False``.
        """
        if not self.batch_first:
            query, key, value = (t.transpose(0, 1) for t in (query, key, value))
        q, k, v = (self._heads(t) for t in self._project(query, key, value))
        mask = _merge_masks(attn_mask, key_padding_mask, q.dtype)
        out = F.scaled_dot_product_attention(
            q, k, v, mask, dropout_p=self.dropout if self.training else 0.0, is_causal=is_causal
        )
        out = self.out_proj(out.transpose(1, 2).flatten(2))
        return (out if self.batch_first else out.transpose(0, 1)), None

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> list[Tensor]:
        """Project with as few matrix products as the sharing of inputs allows."""
        E, w, b = self.embed_dim, self.in_proj_weight, self.in_proj_bias
        if query is key and key is value:
            return list(F.linear(query, w, b).split(E, dim=-1))
        if query is key:
            q, k = F.linear(query, w[: 2 * E], b[: 2 * E]).split(E, dim=-1)
            return [q, k, F.linear(value, w[2 * E :], b[2 * E :])]
        q = F.linear(query, w[:E], b[:E])
        if key is value:
            return [q, *F.linear(key, w[E:], b[E:]).split(E, dim=-1)]
        k = F.linear(key, w[E : 2 * E], b[E : 2 * E])
        return [q, k, F.linear(value, w[2 * E :], b[2 * E :])]

    def _heads(self, x: Tensor) -> Tensor:
        """[B, N, E] -> [B, heads, N, E / heads]."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


def _merge_masks(
    attn_mask: Tensor | None, key_padding_mask: Tensor | None, dtype: torch.dtype
) -> Tensor | None:
    if attn_mask is not None and attn_mask.is_floating_point():
        attn_mask = attn_mask.to(dtype)
    if key_padding_mask is None:
        return attn_mask
    keep = ~key_padding_mask[:, None, None, :]
    if attn_mask is None:
        return keep
    if attn_mask.dtype == torch.bool:
        return attn_mask & keep
    return attn_mask.masked_fill(~keep, float("-inf"))

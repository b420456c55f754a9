"""Attention of the SAM parts: two-way transformer of the mask decoder, rotary memory attention.

Segment Anything (https://arxiv.org/abs/2304.02643), mask decoder; SAM 2
(https://arxiv.org/abs/2408.00714), memory attention. Queries, keys and values have their own
projections here (``q_proj`` ...), other than in ``layers.attention``, where they share one.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from ..perflib import fa3
from .common import MLPBlock
from .rope import apply_rotary_enc, compute_axial_cis


class Attention(nn.Module):
    """Multi-head attention that may work in fewer channels than it is given.

    Works in ``embedding_dim / downsample_rate`` channels, split over ``num_heads``; keys and values
    have ``kv_in_dim`` channels (``embedding_dim`` if None). ``dropout`` acts in training only.
    ``use_fa3`` computes in float8 with FlashAttention 3 (Hopper GPUs).
    """

    def __init__(
        self,
        embedding_dim: int,
        num_heads: int,
        downsample_rate: int = 1,
        dropout: float = 0.0,
        kv_in_dim: int | None = None,
        use_fa3: bool = False,
    ) -> None:
        super().__init__()
        self.embedding_dim = embedding_dim
        self.kv_in_dim = embedding_dim if kv_in_dim is None else kv_in_dim
        self.internal_dim = embedding_dim // downsample_rate
        self.num_heads = num_heads
        self.dropout_p = dropout
        self.use_fa3 = use_fa3
        if self.internal_dim % num_heads:
            raise ValueError(
                f"embedding_dim {embedding_dim} / downsample_rate {downsample_rate} is not a"
                f" multiple of num_heads {num_heads}"
            )
        self.q_proj = nn.Linear(embedding_dim, self.internal_dim)
        self.k_proj = nn.Linear(self.kv_in_dim, self.internal_dim)
        self.v_proj = nn.Linear(self.kv_in_dim, self.internal_dim)
        self.out_proj = nn.Linear(self.internal_dim, embedding_dim)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [B, L, embedding_dim], k and v [B, S, kv_in_dim] -> [B, L, embedding_dim]."""
        return self._attend(*self._project(q, k, v))

    def _project(self, q: Tensor, k: Tensor, v: Tensor) -> list[Tensor]:
        """Projected heads [B, heads, N, internal / heads] of queries, keys and values."""
        projected = (self.q_proj(q), self.k_proj(k), self.v_proj(v))
        return [x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for x in projected]

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of projected heads [B, heads, N, D], then the output projection."""
        if self.use_fa3:
            out = fa3.flash_attn_func(*(t.transpose(1, 2) for t in (q, k, v)))
        else:
            dropout = self.dropout_p if self.training else 0.0
            out = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout).transpose(1, 2)
        return self.out_proj(out.flatten(2))


class RoPEAttention(Attention):
    """Attention with axial rotary position embedding of queries and keys.

    ``feat_sizes`` (width, height) of the query grid; another number of queries is taken for a
    square grid. ``rope_k_repeat``: keys are several grids in a row (memories of several frames).
    ``use_rope_real`` rotates without complex numbers. The table is made when first needed and is
    not part of the state dict.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_heads: int,
        downsample_rate: int = 1,
        dropout: float = 0.0,
        kv_in_dim: int | None = None,
        use_fa3: bool = False,
        rope_theta: float = 10000.0,
        rope_k_repeat: bool = False,
        feat_sizes: tuple[int, int] = (64, 64),
        use_rope_real: bool = False,
    ) -> None:
        super().__init__(embedding_dim, num_heads, downsample_rate, dropout, kv_in_dim, use_fa3)
        self.rope_theta = rope_theta
        self.rope_k_repeat = rope_k_repeat
        self.feat_sizes = (int(feat_sizes[0]), int(feat_sizes[1]))
        self.use_rope_real = use_rope_real
        self._table: Tensor | None = None

    def forward(self, q: Tensor, k: Tensor, v: Tensor, num_k_exclude_rope: int = 0) -> Tensor:
        """As :meth:`Attention.forward`; the last ``num_k_exclude_rope`` keys are not rotated.

        Raises InputError where the numbers of queries and keys do not fit a table.
        """
        q, k, v = self._project(q, k, v)
        rotated = k.shape[-2] - num_k_exclude_rope
        if rotated < 0:
            raise InputError(f"{num_k_exclude_rope} keys to leave out, but only {k.shape[-2]} keys")
        q, first = apply_rotary_enc(
            q,
            k[..., :rotated, :],
            self._freqs_cis(q.shape[-2], q.device),
            repeat_freqs_k=self.rope_k_repeat,
            real=self.use_rope_real,
        )
        k = torch.cat([first, k[..., rotated:, :]], dim=-2) if num_k_exclude_rope else first
        return self._attend(q, k, v)

    def _freqs_cis(self, num_queries: int, device: torch.device) -> Tensor:
        """Rotation factors of the query grid, complex64 [num_queries, head dim / 2]."""
        table = self._table
        if table is None or len(table) != num_queries or table.device != device:
            width, height = self._grid(num_queries)
            with torch.inference_mode(False):  # kept for later calls, which may need gradients
                table = compute_axial_cis(
                    self.internal_dim // self.num_heads,
                    end_x=width,
                    end_y=height,
                    theta=self.rope_theta,
                    device=device,
                )
            self._table = table
        return table

    def _grid(self, num_queries: int) -> tuple[int, int]:
        if self.feat_sizes[0] * self.feat_sizes[1] == num_queries:
            return self.feat_sizes
        side = math.isqrt(num_queries)
        if side * side != num_queries:
            raise InputError(
                f"{num_queries} queries are neither the grid {self.feat_sizes} nor a square one"
            )
        return side, side


class TwoWayAttentionBlock(nn.Module):
    """Tokens attend to themselves and to the image, the image attends to the tokens.

    ``skip_first_layer_pe``: first layer, whose self-attention has neither positions nor residual.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_heads: int,
        mlp_dim: int = 2048,
        activation: Callable[[], nn.Module] = nn.ReLU,
        attention_downsample_rate: int = 2,
        skip_first_layer_pe: bool = False,
    ) -> None:
        super().__init__()
        rate = attention_downsample_rate
        self.self_attn = Attention(embedding_dim, num_heads)
        self.norm1 = nn.LayerNorm(embedding_dim)
        self.cross_attn_token_to_image = Attention(embedding_dim, num_heads, rate)
        self.norm2 = nn.LayerNorm(embedding_dim)
        self.mlp = MLPBlock(embedding_dim, mlp_dim, activation)
        self.norm3 = nn.LayerNorm(embedding_dim)
        self.norm4 = nn.LayerNorm(embedding_dim)
        self.cross_attn_image_to_token = Attention(embedding_dim, num_heads, rate)
        self.skip_first_layer_pe = skip_first_layer_pe

    def forward(
        self, queries: Tensor, keys: Tensor, query_pe: Tensor, key_pe: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Tokens [B, N, C], image [B, S, C] and their positions -> updated tokens and image."""
        if self.skip_first_layer_pe:
            queries = self.self_attn(queries, queries, queries)
        else:
            q = queries + query_pe
            queries = queries + self.self_attn(q, q, queries)
        queries = self.norm1(queries)
        placed_keys = keys + key_pe
        queries = queries + self.cross_attn_token_to_image(queries + query_pe, placed_keys, keys)
        queries = self.norm2(queries)
        queries = self.norm3(queries + self.mlp(queries))
        update = self.cross_attn_image_to_token(placed_keys, queries + query_pe, queries)
        return queries, self.norm4(keys + update)


class TwoWayTransformer(nn.Module):
    """``depth`` two-way blocks and a last attention of the tokens to the image."""

    def __init__(
        self,
        depth: int,
        embedding_dim: int,
        num_heads: int,
        mlp_dim: int,
        activation: Callable[[], nn.Module] = nn.ReLU,
        attention_downsample_rate: int = 2,
    ) -> None:
        super().__init__()
        self.depth = depth
        self.embedding_dim = embedding_dim
        self.num_heads = num_heads
        self.mlp_dim = mlp_dim
        self.layers = nn.ModuleList(
            TwoWayAttentionBlock(
                embedding_dim,
                num_heads,
                mlp_dim,
                activation,
                attention_downsample_rate,
                skip_first_layer_pe=i == 0,
            )
            for i in range(depth)
        )
        self.final_attn_token_to_image = Attention(
            embedding_dim, num_heads, attention_downsample_rate
        )
        self.norm_final_attn = nn.LayerNorm(embedding_dim)

    def forward(
        self, image_embedding: Tensor, image_pe: Tensor, point_embedding: Tensor
    ) -> tuple[Tensor, Tensor]:
        """image_embedding and image_pe [B, C, h, w] (the second may have B = 1), tokens [B, N, C].

        Returns tokens [B, N, C] and image [B, h * w, C]. The tokens themselves are their positions.
        """
        keys = image_embedding.flatten(2).transpose(1, 2)
        key_pe = image_pe.flatten(2).transpose(1, 2)
        queries = point_embedding
        for layer in self.layers:
            queries, keys = layer(queries, keys, point_embedding, key_pe)
        update = self.final_attn_token_to_image(queries + point_embedding, keys + key_pe, keys)
        return self.norm_final_attn(queries + update), keys

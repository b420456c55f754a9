"""One post-norm decoder layer: queries attend to each other, to the prompt, to the image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...layers.attention import MultiheadAttention
from ...layers.basic import get_activation_fn


class TransformerDecoderLayer(nn.Module):
    """Self-attention, prompt cross-attention (``ca_text``), image cross-attention, feed-forward.

    All sequence-first. Norms follow their sub-layer: ``norm2`` self-attention, ``catext_norm``
    prompt, ``norm1`` image, ``norm3`` feed-forward.
    """

    def __init__(
        self,
        activation: str,
        d_model: int,
        dim_feedforward: int,
        dropout: float,
        cross_attention: nn.Module,
        n_heads: int,
        use_text_cross_attention: bool = True,
    ) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.cross_attn = cross_attention
        self.norm1 = nn.LayerNorm(d_model)
        self.use_text_cross_attention = use_text_cross_attention
        if use_text_cross_attention:
            self.ca_text = MultiheadAttention(d_model, n_heads, dropout)
            self.catext_norm = nn.LayerNorm(d_model)
        self.self_attn = MultiheadAttention(d_model, n_heads, dropout)
        self.norm2 = nn.LayerNorm(d_model)
        self.linear1 = nn.Linear(d_model, dim_feedforward)
        self.linear2 = nn.Linear(dim_feedforward, d_model)
        self.norm3 = nn.LayerNorm(d_model)
        self.activation = get_activation_fn(activation)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        tgt: Tensor,
        query_pos: Tensor,
        prompt: Tensor | None,
        prompt_mask: Tensor | None,
        memory_keys: Tensor,
        memory: Tensor,
        image_bias: Tensor | None,
        num_self_attended: int | None = None,
    ) -> Tensor:
        """[N, B, C] tokens -> [N, B, C].

        prompt [P, B, C] with padding mask [B, P]; memory [S, B, C] and memory_keys (memory plus
        position); image_bias [B, heads, N, S] is added to the image attention logits. Tokens from
        ``num_self_attended`` on (the one-to-many queries) skip self-attention but not its norm.
        """
        n = tgt.shape[0] if num_self_attended is None else num_self_attended
        own, rest = tgt[:n], tgt[n:]
        qk = own + query_pos[:n]
        own = own + self.dropout(self.self_attn(qk, qk, own)[0])
        tgt = self.norm2(torch.cat([own, rest]) if rest.shape[0] else own)
        if self.use_text_cross_attention:
            h = self.ca_text(tgt + query_pos, prompt, prompt, key_padding_mask=prompt_mask)[0]
            tgt = self.catext_norm(tgt + self.dropout(h))
        h = self.cross_attn(tgt + query_pos, memory_keys, memory, attn_mask=image_bias)[0]
        tgt = self.norm1(tgt + self.dropout(h))
        return self.norm3(tgt + self.dropout(self._feed_forward(tgt)))

    def _feed_forward(self, x: Tensor) -> Tensor:
        # float32 island: half precision saturates here
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.linear1.weight.dtype)
            return self.linear2(self.dropout(self.activation(self.linear1(x))))

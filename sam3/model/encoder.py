"""Fusion encoder: image tokens attend to each other and to the prompt, layer by layer.

Entry points :class:`TransformerEncoderLayer` (also used by the geometry encoder) and
:class:`TransformerEncoderFusion`. Pre-norm DETR layers (Carion et al. 2020; Xiong et al. 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..layers.basic import check_fixed, get_activation_fn, get_clones
from .act_ckpt_utils import activation_ckpt_wrapper


class TransformerEncoderLayer(nn.Module):
    """Pre-norm layer: self-attention, cross-attention to a memory, feed-forward.

    ``self_attention`` and ``cross_attention`` decide the axis order ([B, N, C] or [N, B, C]).
    Positions are added to self-attention queries and keys (``pos_enc_at_attn``) and to the memory
    keys (``pos_enc_at_cross_attn_keys``), never to values.
    """

    def __init__(
        self,
        activation: str,
        d_model: int,
        dim_feedforward: int,
        dropout: float,
        self_attention: nn.Module,
        cross_attention: nn.Module,
        pos_enc_at_attn: bool,
        pos_enc_at_cross_attn_keys: bool,
        pos_enc_at_cross_attn_queries: bool = False,
        **fixed: Any,
    ) -> None:
        super().__init__()
        check_fixed("TransformerEncoderLayer", fixed, {"pre_norm": True})
        self.pos_enc_at_attn = pos_enc_at_attn
        self.pos_enc_at_cross_attn_keys = pos_enc_at_cross_attn_keys
        self.pos_enc_at_cross_attn_queries = pos_enc_at_cross_attn_queries
        self.self_attn = self_attention
        self.cross_attn_image = cross_attention
        self.linear1 = nn.Linear(d_model, dim_feedforward)
        self.linear2 = nn.Linear(dim_feedforward, d_model)
        self.norm1 = nn.LayerNorm(d_model)
        self.norm2 = nn.LayerNorm(d_model)
        self.norm3 = nn.LayerNorm(d_model)
        self.activation = get_activation_fn(activation)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        dac: bool = False,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        pos: Tensor | None = None,
        query_pos: Tensor | None = None,
    ) -> Tensor:
        """Refine ``tgt`` by itself and by ``memory``; returns a tensor shaped like ``tgt``.

        ``pos`` belongs to memory, ``query_pos`` to tgt; padding masks are [B, N], True = ignore.
        """
        if dac:
            raise NotImplementedError("divide-and-conquer queries are a matter of the decoder")
        h = self.norm1(tgt)
        qk = _with(h, query_pos) if self.pos_enc_at_attn else h
        h = self.self_attn(qk, qk, h, key_padding_mask=tgt_key_padding_mask, attn_mask=tgt_mask)[0]
        tgt = tgt + self.dropout(h)
        h = self.norm2(tgt)
        h = self.cross_attn_image(
            _with(h, query_pos) if self.pos_enc_at_cross_attn_queries else h,
            _with(memory, pos) if self.pos_enc_at_cross_attn_keys else memory,
            memory,
            key_padding_mask=memory_key_padding_mask,
            attn_mask=memory_mask,
        )[0]
        tgt = tgt + self.dropout(h)
        h = self.linear2(self.dropout(self.activation(self.linear1(self.norm3(tgt)))))
        return tgt + self.dropout(h)


class TransformerEncoderFusion(nn.Module):
    """``num_layers`` copies of ``layer`` over one image level, with the prompt as memory."""

    def __init__(
        self,
        layer: nn.Module,
        num_layers: int,
        d_model: int,
        num_feature_levels: int = 1,
        frozen: bool = False,
        use_act_checkpoint: bool = False,
        add_pooled_text_to_img_feat: bool = True,
        pool_text_with_mask: bool = False,
        **fixed: Any,
    ) -> None:
        super().__init__()
        check_fixed("TransformerEncoderFusion", fixed, {"compile_mode": None})
        if num_feature_levels != 1:
            raise ValueError(f"one feature level is supported, got {num_feature_levels}")
        self.layers = get_clones(layer, num_layers)
        self.num_layers = num_layers
        self.use_act_checkpoint = use_act_checkpoint
        self.pool_text_with_mask = pool_text_with_mask
        self.text_pooling_proj = (
            nn.Linear(d_model, d_model) if add_pooled_text_to_img_feat else None
        )
        if frozen:
            self.requires_grad_(False)

    def forward(
        self,
        src: Sequence[Tensor],
        prompt: Tensor,
        src_key_padding_mask: Sequence[Tensor] | None = None,
        src_pos: Sequence[Tensor] | None = None,
        prompt_key_padding_mask: Tensor | None = None,
        prompt_pos: Tensor | None = None,
        feat_sizes: Sequence[tuple[int, int]] | None = None,
        encoder_extra_kwargs: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Fuse image tokens with the prompt.

        src, src_pos: one level [H * W, B, C]; prompt [N, B, C]; prompt_key_padding_mask [B, N];
        feat_sizes [(H, W)]. Returns ``memory`` and ``pos_embed`` [H * W, B, C], ``padding_mask``
        None, ``memory_text`` (the prompt, unchanged), ``spatial_shapes`` [[H, W]],
        ``level_start_index`` [0], ``valid_ratios`` ones [B, 1, 2].
        """
        if (
            len(src) != 1
            or src_key_padding_mask is not None
            and src_key_padding_mask[0] is not None
        ):
            raise ValueError("the fusion encoder takes one unpadded image level")
        x = src[0].transpose(0, 1)
        pos = None if src_pos is None else src_pos[0].transpose(0, 1)
        if self.text_pooling_proj is not None:
            pooled = pool_text_feat(prompt, prompt_key_padding_mask, self.pool_text_with_mask)
            x = x + self.text_pooling_proj(pooled)[:, None]
        memory = prompt.transpose(0, 1)
        for layer in self.layers:
            x = activation_ckpt_wrapper(layer)(
                tgt=x,
                memory=memory,
                memory_key_padding_mask=prompt_key_padding_mask,
                pos=None if prompt_pos is None else prompt_pos.transpose(0, 1),
                query_pos=pos,
                act_ckpt_enable=self.training and self.use_act_checkpoint,
                **(encoder_extra_kwargs or {}),
            )
        sizes = feat_sizes if feat_sizes is not None else [_square(x.shape[1])]
        return {
            "memory": x.transpose(0, 1),
            "padding_mask": None,
            "pos_embed": None if src_pos is None else src_pos[0],
            "memory_text": prompt,
            "level_start_index": torch.zeros(1, dtype=torch.long, device=x.device),
            "spatial_shapes": torch.tensor([tuple(s) for s in sizes], device=x.device),
            "valid_ratios": torch.ones(x.shape[0], 1, 2, device=x.device),
        }


def pool_text_feat(prompt: Tensor, prompt_mask: Tensor | None, pool_with_mask: bool) -> Tensor:
    """Mean of prompt tokens [N, B, C] -> [B, C]; with ``pool_with_mask`` over valid ones only.

    prompt_mask: [B, N] bool, True = padding.
    """
    if not pool_with_mask or prompt_mask is None:
        return prompt.mean(dim=0)
    valid = (~prompt_mask).to(prompt.dtype).transpose(0, 1)[..., None]
    return (prompt * valid).sum(dim=0) / valid.sum(dim=0).clamp(min=1.0)


def _with(x: Tensor, pos: Tensor | None) -> Tensor:
    return x if pos is None else x + pos


def _square(tokens: int) -> tuple[int, int]:
    side = round(tokens**0.5)
    if side * side != tokens:
        raise ValueError(f"{tokens} image tokens are not a square; pass feat_sizes")
    return side, side

"""Memory attention: image tokens attend to themselves and to the memories of other frames.

Entry points :class:`TransformerEncoderCrossAttention` (the stack) and
:class:`TransformerDecoderLayerv2` (its layer, rotary attention); ``v1`` is the DETR layer with
separate position encodings that it grew from. SAM 2 (https://arxiv.org/abs/2408.00714), section
"memory attention".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ...layers.basic import get_activation_fn, get_clones
from ..act_ckpt_utils import activation_ckpt_wrapper

SOURCE_POS_WEIGHT = 0.1
"""Share of the position code that is added to the image tokens (``pos_enc_at_input``)."""

OneLevel = Tensor | Sequence[Tensor | None] | None


class TransformerDecoderLayerv1(nn.Module):
    """Self-attention, cross-attention to a memory, feed-forward; pre-norm or post-norm.

    ``self_attention`` and ``cross_attention`` decide the axis order; they return a tensor or a
    tuple that starts with one. The ``pos_enc_at_*`` switches say where positions are added, never
    to values.
    """

    def __init__(
        self,
        activation: str,
        cross_attention: nn.Module,
        d_model: int,
        dim_feedforward: int,
        dropout: float,
        pos_enc_at_attn: bool,
        pos_enc_at_cross_attn_keys: bool,
        pos_enc_at_cross_attn_queries: bool,
        pre_norm: bool,
        self_attention: nn.Module,
    ) -> None:
        super().__init__()
        self.d_model = d_model
        self.self_attn = self_attention
        self.cross_attn_image = cross_attention
        self.linear1 = nn.Linear(d_model, dim_feedforward)
        self.linear2 = nn.Linear(dim_feedforward, d_model)
        self.norm1 = nn.LayerNorm(d_model)
        self.norm2 = nn.LayerNorm(d_model)
        self.norm3 = nn.LayerNorm(d_model)
        self.dropout = nn.Dropout(dropout)
        self.activation = get_activation_fn(activation)
        self.pre_norm = pre_norm
        self.pos_enc_at_attn = pos_enc_at_attn
        self.pos_enc_at_cross_attn_queries = pos_enc_at_cross_attn_queries
        self.pos_enc_at_cross_attn_keys = pos_enc_at_cross_attn_keys

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        pos: Tensor | None = None,
        query_pos: Tensor | None = None,
    ) -> Tensor:
        """Refine ``tgt``; ``pos`` belongs to ``memory``, ``query_pos`` to ``tgt``.

        Masks are passed to the attentions only where given. Returns a tensor shaped like ``tgt``.
        """
        self_masks = _given(attn_mask=tgt_mask, key_padding_mask=tgt_key_padding_mask)
        cross_masks = _given(attn_mask=memory_mask, key_padding_mask=memory_key_padding_mask)
        x = tgt
        h = self.norm1(x) if self.pre_norm else x
        x = x + self.dropout(self._self_attention(h, query_pos, self_masks))
        x = x if self.pre_norm else self.norm1(x)
        h = self.norm2(x) if self.pre_norm else x
        x = x + self.dropout(self._cross_attention(h, memory, query_pos, pos, cross_masks))
        x = x if self.pre_norm else self.norm2(x)
        h = self.norm3(x) if self.pre_norm else x
        x = x + self.dropout(self._feed_forward(h))
        return x if self.pre_norm else self.norm3(x)

    def _self_attention(self, h: Tensor, query_pos: Tensor | None, extra: dict[str, Any]) -> Tensor:
        qk = _with(h, query_pos, self.pos_enc_at_attn)
        return _first(self.self_attn(qk, qk, h, **extra))

    def _cross_attention(
        self,
        h: Tensor,
        memory: Tensor,
        query_pos: Tensor | None,
        pos: Tensor | None,
        extra: dict[str, Any],
    ) -> Tensor:
        q = _with(h, query_pos, self.pos_enc_at_cross_attn_queries)
        k = _with(memory, pos, self.pos_enc_at_cross_attn_keys)
        return _first(self.cross_attn_image(q, k, memory, **extra))

    def _feed_forward(self, h: Tensor) -> Tensor:
        return self.linear2(self.dropout(self.activation(self.linear1(h))))


class TransformerDecoderLayerv2(TransformerDecoderLayerv1):
    """Pre-norm layer over rotary attention; the last keys may be exempt from rotation.

    ``cross_attention_first`` exchanges the two attentions (``norm1`` stays with self-attention).
    """

    def __init__(self, cross_attention_first: bool = False, **layer: Any) -> None:
        super().__init__(**layer)
        if not self.pre_norm:
            raise ValueError("TransformerDecoderLayerv2 is a pre-norm layer: pass pre_norm=True")
        self.cross_attention_first = cross_attention_first

    def forward(  # type: ignore[override]
        self,
        tgt: Tensor,
        memory: Tensor,
        pos: Tensor | None = None,
        query_pos: Tensor | None = None,
        num_k_exclude_rope: int = 0,
    ) -> Tensor:
        """tgt [B, N, d_model], memory [B, K, C'] with positions ``pos`` -> [B, N, d_model].

        The last ``num_k_exclude_rope`` tokens of memory are object pointers: no rotation. tgt may
        have a batch of one, which all memories share up to the point where they are looked at.
        """
        extra = {"num_k_exclude_rope": num_k_exclude_rope} if num_k_exclude_rope else {}

        def attend_to_memory(x: Tensor) -> Tensor:
            x = x.expand(len(memory), -1, -1)
            h = self._cross_attention(self.norm2(x), memory, query_pos, pos, extra)
            return x + self.dropout(h)

        x = attend_to_memory(tgt) if self.cross_attention_first else tgt
        x = x + self.dropout(self._self_attention(self.norm1(x), query_pos, {}))
        x = x if self.cross_attention_first else attend_to_memory(x)
        return x + self.dropout(self._feed_forward(self.norm3(x)))


class TransformerEncoderCrossAttention(nn.Module):
    """``num_layers`` copies of ``layer`` and a final norm.

    batch_first: axis order inside the layers (outside it is always sequence-first).
    remove_cross_attention_layers: indices of layers that only attend to themselves.
    """

    def __init__(
        self,
        d_model: int,
        frozen: bool,
        pos_enc_at_input: bool,
        layer: nn.Module,
        num_layers: int,
        use_act_checkpoint: bool = False,
        batch_first: bool = False,
        remove_cross_attention_layers: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if remove_cross_attention_layers:
            raise ValueError(
                "remove_cross_attention_layers is not supported: every layer attends to memory"
            )
        self.d_model = d_model
        self.layers = get_clones(layer, num_layers)
        self.num_layers = num_layers
        self.norm = nn.LayerNorm(d_model)
        self.pos_enc_at_input = pos_enc_at_input
        self.use_act_checkpoint = use_act_checkpoint
        self.batch_first = batch_first
        if frozen:
            self.requires_grad_(False)

    def forward(
        self,
        src: Tensor | Sequence[Tensor],
        prompt: Tensor,
        src_mask: Tensor | None = None,
        prompt_mask: Tensor | None = None,
        src_key_padding_mask: OneLevel = None,
        prompt_key_padding_mask: Tensor | None = None,
        src_pos: OneLevel = None,
        prompt_pos: Tensor | None = None,
        feat_sizes: Sequence[tuple[int, int]] | None = None,
        num_obj_ptr_tokens: int = 0,
    ) -> dict[str, Tensor | None]:
        """Condition image tokens on memory tokens.

        src, src_pos: [H * W, B, d_model], or lists of one; a batch of one goes with any prompt.
        prompt, prompt_pos: [K, B, C'], the last ``num_obj_ptr_tokens`` of them object pointers.
        feat_sizes is not needed: one level.
        Returns ``memory`` [H * W, B, d_model], ``pos_embed`` (src_pos), ``padding_mask``.
        """
        x, pos, padding = _one(src), _one(src_pos), _one(src_key_padding_mask)
        masks = (src_mask, prompt_mask, padding, prompt_key_padding_mask)
        if x is None or any(mask is not None for mask in masks):
            raise ValueError("memory attention takes one level of features and no masks")
        batch = (x.shape[1], prompt.shape[1])
        if batch[0] not in (1, batch[1]):
            raise ValueError(f"features and memories differ in batch size: {sorted(batch)}")
        if self.pos_enc_at_input and pos is not None:
            x = x + SOURCE_POS_WEIGHT * pos
        tokens = [x, prompt, pos, prompt_pos]
        if self.batch_first:
            tokens = [None if t is None else t.transpose(0, 1) for t in tokens]
        x, memory, query_pos, memory_pos = tokens
        assert x is not None
        checkpointed = self.training and self.use_act_checkpoint
        for layer in self.layers:
            x = activation_ckpt_wrapper(layer)(
                tgt=x,
                memory=memory,
                pos=memory_pos,
                query_pos=query_pos,
                num_k_exclude_rope=num_obj_ptr_tokens,
                act_ckpt_enable=checkpointed,
            )
        x = self.norm(x)
        if self.batch_first:
            x = x.transpose(0, 1)
        return {"memory": x, "pos_embed": pos, "padding_mask": padding}


def _with(x: Tensor, pos: Tensor | None, wanted: bool) -> Tensor:
    return x + pos if wanted and pos is not None else x


def _given(**masks: Tensor | None) -> dict[str, Tensor]:
    return {name: mask for name, mask in masks.items() if mask is not None}


def _first(out: Tensor | tuple[Tensor, ...]) -> Tensor:
    return out[0] if isinstance(out, tuple) else out


def _one(level: Any) -> Any:
    """The tensor itself, or the only entry of a list."""
    if not isinstance(level, (list, tuple)):
        return level
    if len(level) != 1:
        raise ValueError(f"memory attention takes one feature level, got {len(level)}")
    return level[0]

"""Object decoder: learned queries become boxes and a presence score, layer by layer.

Entry point :class:`TransformerDecoder`; the tracker's memory attention can be imported from here
too and stands in ``detr/memory_attention.py``. DETR with iterative box refinement (Zhu et al.
2021), conditional sine queries (Liu et al. 2022, DAB-DETR), box-relative bias (Plain DETR) and,
while training, divide-and-conquer one-to-many queries that share all weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..layers.basic import check_fixed, get_clones, inverse_sigmoid
from ..layers.mlp import MLP
from .act_ckpt_utils import activation_ckpt_wrapper
from .box_ops import box_cxcywh_to_xyxy
from .detr.box_bias import combine_axes, log_offsets
from .detr.layer import TransformerDecoderLayer
from .detr.memory_attention import (
    TransformerDecoderLayerv1,
    TransformerDecoderLayerv2,
    TransformerEncoderCrossAttention,
)
from .position_encoding import gen_sineembed_for_position

__all__ = [
    "TransformerDecoder",
    "TransformerDecoderLayer",
    "TransformerDecoderLayerv1",
    "TransformerDecoderLayerv2",
    "TransformerEncoderCrossAttention",
]

_FIXED: dict[str, Any] = {
    "return_intermediate": True,
    "box_refine": True,
    "num_o2m_queries": 0,
    "boxRPB": "log",
    "interaction_layer": None,
    "instance_query": False,
    "num_instances": 1,
    "dac_use_selfatt_ln": True,
    "compile_mode": None,
    "presence_token": True,
    # the released model computes this clamp and drops it: logits are not clamped
    "clamp_presence_logits": True,
    "clamp_presence_logit_max_val": 10.0,
    "use_normed_output_consistently": True,
    "separate_box_head_instance": False,
    "separate_norm_instance": False,
}


class TransformerDecoder(nn.Module):
    """``num_layers`` copies of ``layer`` over ``num_queries`` queries and one presence token.

    With ``dac`` the queries are duplicated while training: the second half skips self-attention
    and serves one-to-many matching. ``resolution`` / ``stride`` is the default token grid side.
    """

    def __init__(
        self,
        layer: TransformerDecoderLayer,
        num_layers: int,
        num_queries: int,
        d_model: int,
        dac: bool = False,
        frozen: bool = False,
        use_act_checkpoint: bool = False,
        resolution: int | None = None,
        stride: int | None = None,
        **fixed: Any,
    ) -> None:
        super().__init__()
        check_fixed("TransformerDecoder", fixed, _FIXED)
        self.num_layers = num_layers
        self.num_queries = num_queries
        self.d_model = d_model
        self.dac = dac
        self.use_act_checkpoint = use_act_checkpoint
        self.grid = None if resolution is None or stride is None else resolution // stride
        heads = layer.n_heads
        self.layers = get_clones(layer, num_layers)
        self.norm = nn.LayerNorm(d_model)
        self.query_embed = nn.Embedding(num_queries, d_model)
        self.reference_points = nn.Embedding(num_queries, 4)
        self.ref_point_head = MLP(2 * d_model, d_model, d_model, 2)
        self.bbox_embed = MLP(d_model, d_model, 4, 3)
        self.boxRPB_embed_x = MLP(2, d_model, heads, 2)
        self.boxRPB_embed_y = MLP(2, d_model, heads, 2)
        self.presence_token = nn.Embedding(1, d_model)
        self.presence_token_head = MLP(d_model, d_model, 1, 3)
        self.presence_token_out_norm = nn.LayerNorm(d_model)
        nn.init.zeros_(self.bbox_embed.layers[-1].weight)
        nn.init.zeros_(self.bbox_embed.layers[-1].bias)
        if frozen:
            self.requires_grad_(False)

    def forward(
        self,
        memory: Tensor,
        memory_pos: Tensor,
        prompt: Tensor,
        prompt_mask: Tensor,
        feat_size: tuple[int, int] | None = None,
        valid_ratios: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Decode B prompts.

        memory, memory_pos: [H * W, B, C]; prompt [P, B, C] with padding mask [B, P];
        feat_size (H, W), by default the constructor's grid; valid_ratios [B, 1, 2] (w, h) or None.
        Q' is num_queries, doubled while training with ``dac``. Returns
        hs [layers, Q', B, C] (normed), refs [layers, Q', B, 4] cxcywh entering each layer,
        presence_logits [layers, 1, B], presence_feats [1, B, C] (last layer, not normed).
        """
        dtype = self.norm.weight.dtype  # float32 also in a half-precision model
        memory, prompt = memory.to(dtype), prompt.to(dtype)
        keys = memory + memory_pos.to(dtype)
        size = self._grid_size(feat_size, memory.shape[0])
        ratios = None if valid_ratios is None else valid_ratios.repeat(1, 1, 2).transpose(0, 1)
        tgt, ref, presence = self._start(memory.shape[1])
        num_self_attended = 1 + self.num_queries
        use_ckpt = self.training and self.use_act_checkpoint
        hs, refs, presence_logits = [], [], []
        for layer in self.layers:
            refs.append(ref)
            sine = gen_sineembed_for_position(ref if ratios is None else ref * ratios, self.d_model)
            query_pos = self.ref_point_head(sine.to(dtype))
            bias = activation_ckpt_wrapper(self.box_relative_bias)(
                ref, size, act_ckpt_enable=use_ckpt
            )
            tokens = activation_ckpt_wrapper(layer)(
                torch.cat([presence, tgt]),
                torch.cat([torch.zeros_like(presence), query_pos]),
                prompt,
                prompt_mask,
                keys,
                memory,
                bias,
                num_self_attended,
                act_ckpt_enable=use_ckpt,
            )
            presence, tgt = tokens[:1], tokens[1:]
            normed = self.norm(tgt)
            ref = (self.bbox_embed(normed) + inverse_sigmoid(ref)).sigmoid().detach()
            hs.append(normed)
            presence_logits.append(
                self.presence_token_head(self.presence_token_out_norm(presence)).squeeze(-1)
            )
        return torch.stack(hs), torch.stack(refs), torch.stack(presence_logits), presence

    def _start(self, batch: int) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [Q', B, C], reference boxes [Q', B, 4], presence token [1, B, C]."""
        copies = 2 if self.training and self.dac else 1
        tgt = self.query_embed.weight[:, None].repeat(copies, batch, 1)
        ref = self.reference_points.weight.sigmoid()[:, None].repeat(copies, batch, 1)
        return tgt, ref, self.presence_token.weight[:, None].repeat(1, batch, 1)

    def _grid_size(self, feat_size: tuple[int, int] | None, tokens: int) -> tuple[int, int]:
        if feat_size is None:
            if self.grid is None:
                raise ValueError("pass feat_size: the decoder was built without resolution/stride")
            feat_size = (self.grid, self.grid)
        if feat_size[0] * feat_size[1] != tokens:
            raise ValueError(f"feat_size {feat_size} does not fit {tokens} memory tokens")
        return feat_size

    def box_relative_bias(self, reference_boxes: Tensor, feat_size: tuple[int, int]) -> Tensor:
        """Attention bias of boxes [Q, B, 4] cxcywh over an (H, W) grid: [B, heads, 1 + Q, H * W].

        Row 0 belongs to the presence token and is zero.
        """
        height, width = feat_size
        corners = box_cxcywh_to_xyxy(reference_boxes).transpose(0, 1)
        bias_x = self.boxRPB_embed_x(log_offsets(corners[..., 0::2], width))
        bias_y = self.boxRPB_embed_y(log_offsets(corners[..., 1::2], height))
        return combine_axes(bias_y, bias_x, lead=1)

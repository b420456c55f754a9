"""Parts shared by the models: scorer, transformer holder; leaf layers come from ``layers``."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..layers.attention import MultiheadAttention as MultiheadAttentionWrapper
from ..layers.basic import LayerScale, get_activation_fn, get_clones, inverse_sigmoid
from ..layers.mlp import MLP
from .encoder import pool_text_feat
from .outputs import SAM3Output
from .position_encoding import gen_sineembed_for_position

__all__ = [
    "MLP",
    "DotProductScoring",
    "LayerScale",
    "MultiheadAttentionWrapper",
    "SAM3Output",
    "TransformerWrapper",
    "gen_sineembed_for_position",
    "get_activation_fn",
    "get_clones",
    "get_valid_ratio",
    "inverse_sigmoid",
]


class DotProductScoring(nn.Module):
    """Class logits as the scaled dot product of queries and the pooled prompt."""

    def __init__(
        self,
        d_model: int,
        d_proj: int,
        prompt_mlp: nn.Module | None = None,
        clamp_logits: bool = True,
        clamp_max_val: float = 12.0,
    ) -> None:
        super().__init__()
        self.prompt_mlp = prompt_mlp
        self.prompt_proj = nn.Linear(d_model, d_proj)
        self.hs_proj = nn.Linear(d_model, d_proj)
        self.scale = 1.0 / math.sqrt(d_proj)
        self.clamp_max_val = clamp_max_val if clamp_logits else None

    def forward(self, hs: Tensor, prompt: Tensor, prompt_mask: Tensor) -> Tensor:
        """hs [L, B, Q, C], prompt [N, B, C], padding mask [B, N] -> logits [L, B, Q, 1]."""
        prompt = prompt.to(self.prompt_proj.weight.dtype)
        if self.prompt_mlp is not None:
            prompt = self.prompt_mlp(prompt)
        pooled = self.prompt_proj(pool_text_feat(prompt, prompt_mask, pool_with_mask=True))
        scores = torch.matmul(self.hs_proj(hs), pooled[..., None]) * self.scale
        if self.clamp_max_val is not None:
            scores = scores.clamp(-self.clamp_max_val, self.clamp_max_val)
        return scores


class TransformerWrapper(nn.Module):
    """Holder of ``encoder`` and ``decoder``."""

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        d_model: int,
        two_stage_type: str = "none",
        pos_enc_at_input_dec: bool = True,
    ) -> None:
        super().__init__()
        if two_stage_type != "none":
            raise ValueError(f"two_stage_type {two_stage_type!r} is not supported, only 'none'")
        self.encoder = encoder
        self.decoder = decoder
        self.d_model = d_model
        self.num_queries = None if decoder is None else decoder.num_queries
        self.pos_enc_at_input_dec = pos_enc_at_input_dec
        self._init_matrices()

    def _init_matrices(self) -> None:
        """Xavier for matrices, except those with an initial value of their own (boxes, biases)."""
        own = (
            "box_embed",
            "bbox_embed",
            "query_embed",
            "reference_points",
            "boxRPB",
            "presence_token",
        )
        for name, p in self.named_parameters():
            if p.dim() > 1 and not p.is_meta and not any(key in name for key in own):
                nn.init.xavier_uniform_(p)


def get_valid_ratio(mask: Tensor) -> Tensor:
    """Fraction of unpadded (width, height) of masks [B, H, W] (True = padding): [B, 2]."""
    _, height, width = mask.shape
    valid_h = (~mask[:, :, 0]).sum(1).float() / height
    valid_w = (~mask[:, 0, :]).sum(1).float() / width
    return torch.stack([valid_w, valid_h], dim=-1)

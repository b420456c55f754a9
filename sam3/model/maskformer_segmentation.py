"""Mask heads: a pixel decoder over the pyramid and one dot product per query.

Entry points :class:`PixelDecoder`, :class:`MaskPredictor`, :class:`UniversalSegmentationHead`.
After MaskFormer (Cheng et al. 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.basic import check_fixed
from ..layers.mlp import MLP
from .act_ckpt_utils import activation_ckpt_wrapper


class PixelDecoder(nn.Module):
    """Top-down pathway: upsample, add the finer level, 3x3 convolution, GroupNorm, ReLU.

    The released model owns one convolution and norm more than its levels can use.
    """

    def __init__(
        self,
        hidden_dim: int,
        num_upsampling_stages: int,
        interpolation_mode: str = "nearest",
        shared_conv: bool = False,
        compile_mode: str | None = None,
        num_groups: int = 8,
    ) -> None:
        super().__init__()
        check_fixed("PixelDecoder", {"compile_mode": compile_mode}, {"compile_mode": None})
        n = 1 if shared_conv else num_upsampling_stages
        self.interpolation_mode = interpolation_mode
        self.shared_conv = shared_conv
        self.out_dim = hidden_dim
        self.conv_layers = nn.ModuleList(
            nn.Conv2d(hidden_dim, hidden_dim, 3, padding=1) for _ in range(n)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(num_groups, hidden_dim) for _ in range(n))

    def forward(self, backbone_feats: Sequence[Tensor]) -> Tensor:
        """Levels [B or 1, C, H_i, W_i], finest first -> [B, C, H_0, W_0]."""
        out = backbone_feats[-1]
        for i, level in enumerate(reversed(backbone_feats[:-1])):
            up = F.interpolate(out, size=level.shape[-2:], mode=self.interpolation_mode)
            j = 0 if self.shared_conv else i
            out = F.relu(self.norms[j](self.conv_layers[j](level + up)))
        return out


class MaskPredictor(nn.Module):
    """Mask logits as the dot product of embedded queries and pixel embeddings."""

    def __init__(self, hidden_dim: int, mask_dim: int) -> None:
        super().__init__()
        self.mask_embed = MLP(hidden_dim, hidden_dim, mask_dim, 3)

    def forward(self, obj_queries: Tensor, pixel_embed: Tensor) -> Tensor:
        """queries [B, Q, C], pixels [B, C, H, W] -> logits [B, Q, H, W]."""
        return torch.einsum("bqc,bchw->bqhw", self.mask_embed(obj_queries), pixel_embed)


class UniversalSegmentationHead(nn.Module):
    """Instance masks of every query and one semantic mask per prompt.

    The fused image tokens first attend to the prompt (``cross_attend_prompt``), then replace the
    coarsest pyramid level.
    """

    def __init__(
        self,
        hidden_dim: int,
        upsampling_stages: int,
        pixel_decoder: PixelDecoder,
        cross_attend_prompt: nn.Module | None = None,
        act_ckpt: bool = False,
        **fixed: Any,
    ) -> None:
        super().__init__()
        check_fixed(
            "UniversalSegmentationHead",
            fixed,
            {
                "aux_masks": False,
                "no_dec": False,
                "presence_head": False,
                "dot_product_scorer": None,
            },
        )
        if upsampling_stages < 1:
            raise ValueError(f"upsampling_stages must be at least 1, got {upsampling_stages}")
        self.act_ckpt = act_ckpt
        self.pixel_decoder = pixel_decoder
        self.cross_attend_prompt = cross_attend_prompt
        if cross_attend_prompt is not None:
            self.cross_attn_norm = nn.LayerNorm(hidden_dim)
        self.mask_predictor = MaskPredictor(hidden_dim, hidden_dim)
        self.instance_seg_head = nn.Conv2d(pixel_decoder.out_dim, hidden_dim, 1)
        self.semantic_seg_head = nn.Conv2d(pixel_decoder.out_dim, 1, 1)

    def forward(
        self,
        backbone_feats: Sequence[Tensor],
        obj_queries: Tensor,
        image_ids: Tensor,
        encoder_hidden_states: Tensor,
        prompt: Tensor | None = None,
        prompt_mask: Tensor | None = None,
    ) -> dict[str, Tensor | None]:
        """Masks of B prompts.

        backbone_feats: levels [I, C, H_i, W_i] of I images, finest first; obj_queries [B, Q, C];
        image_ids [B]; encoder_hidden_states [H_2 * W_2, B, C]; prompt [P, B, C] with padding mask
        [B, P]. Returns ``pred_masks`` [B, Q, H_0, W_0] and ``semantic_seg`` [B, 1, H_0, W_0]
        logits, ``presence_logit`` None.
        """
        tokens = encoder_hidden_states
        if self.cross_attend_prompt is not None:
            h = self.cross_attn_norm(tokens)
            h = self.cross_attend_prompt(h, prompt, prompt, key_padding_mask=prompt_mask)[0]
            tokens = tokens + h
        pixels = self._embed_pixels(backbone_feats, image_ids, tokens)
        queries = obj_queries.to(pixels.dtype)
        return {
            "pred_masks": self.mask_predictor(queries, self.instance_seg_head(pixels)),
            "semantic_seg": self.semantic_seg_head(pixels),
            "presence_logit": None,
        }

    def _embed_pixels(self, feats: Sequence[Tensor], image_ids: Tensor, tokens: Tensor) -> Tensor:
        """Pixel decoder output [B, C, H_0, W_0] with the coarsest level replaced by ``tokens``."""
        size = feats[-1].shape[-2:]
        fused = tokens[: size[0] * size[1]].permute(1, 2, 0).unflatten(-1, size)
        many = feats[0].shape[0] > 1
        levels = [f[image_ids] if many else f for f in feats[:-1]]
        return activation_ckpt_wrapper(self.pixel_decoder)(
            [*levels, fused], act_ckpt_enable=self.training and self.act_ckpt
        )

"""Boxes and points as prompt tokens: each is embedded by its coordinates, by the image features
under it and by a sine encoding, and the sequence is refined against the image.

Entry points :class:`Prompt` (re-exported) and :class:`SequenceGeometryEncoder`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import roi_align

from ..layers.basic import check_fixed, get_clones
from .act_ckpt_utils import activation_ckpt_wrapper
from .box_ops import box_cxcywh_to_xyxy
from .prompts.container import Prompt, concat_padded_sequences

__all__ = ["Prompt", "SequenceGeometryEncoder", "concat_padded_sequences"]

_FIXED: dict[str, Any] = {
    "encode_boxes_as_points": False,
    "points_direct_project": True,
    "points_pool": True,
    "points_pos_enc": True,
    "boxes_direct_project": True,
    "boxes_pool": True,
    "boxes_pos_enc": True,
    "add_cls": True,
    "add_post_encode_proj": True,
    "mask_encoder": None,
    "add_mask_label": False,
}


class SequenceGeometryEncoder(nn.Module):
    """Encode a :class:`Prompt` into tokens: points, boxes, then one CLS token per entry.

    ``layer`` is cloned ``num_layers`` times (``encode``): self-attention over the prompt tokens and
    cross-attention to the image. The released model's other switches have one supported value.
    """

    def __init__(
        self,
        d_model: int,
        pos_enc: nn.Module,
        num_layers: int,
        layer: nn.Module,
        roi_size: int = 7,
        use_act_ckpt: bool = False,
        **fixed: Any,
    ) -> None:
        super().__init__()
        check_fixed("SequenceGeometryEncoder", fixed, _FIXED)
        self.d_model = d_model
        self.pos_enc = pos_enc
        self.roi_size = roi_size
        self.use_act_ckpt = use_act_ckpt
        self.label_embed = nn.Embedding(2, d_model)
        self.cls_embed = nn.Embedding(1, d_model)
        self.points_direct_project = nn.Linear(2, d_model)
        self.points_pool_project = nn.Linear(d_model, d_model)
        self.points_pos_enc_project = nn.Linear(d_model, d_model)
        self.boxes_direct_project = nn.Linear(4, d_model)
        self.boxes_pool_project = nn.Conv2d(d_model, d_model, roi_size)
        self.boxes_pos_enc_project = nn.Linear(d_model + 2, d_model)
        self.img_pre_norm = nn.LayerNorm(d_model)
        self.final_proj = nn.Linear(d_model, d_model)
        self.norm = nn.LayerNorm(d_model)
        self.encode = get_clones(layer, num_layers)
        self.encode_norm = nn.LayerNorm(d_model)

    def forward(
        self,
        geo_prompt: Prompt,
        img_feats: Sequence[Tensor],
        img_sizes: Sequence[tuple[int, int]],
        img_pos_embeds: Sequence[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Tokens of B prompts.

        img_feats: per level [H * W, B, C], the last is used, of size ``img_sizes[-1]`` = (H, W);
        img_pos_embeds alike. Returns (tokens [Np + Nb + 1, B, C], padding mask
        [B, Np + Nb + 1], True = ignore); CLS follows the last valid token of each entry.
        """
        weight = self.final_proj.weight  # may be kept in float32 in a half-precision model
        feats = img_feats[-1].to(weight.dtype)
        pooled = self.img_pre_norm(feats).permute(1, 2, 0).unflatten(-1, tuple(img_sizes[-1]))
        tokens, mask = self._encode_points(geo_prompt, pooled)
        boxes, boxes_mask = self._encode_boxes(geo_prompt, pooled)
        tokens, mask = concat_padded_sequences(tokens, mask, boxes, boxes_mask)
        batch = tokens.shape[1]
        cls = self.cls_embed.weight.view(1, 1, -1).expand(1, batch, -1)
        cls_mask = torch.zeros(batch, 1, dtype=torch.bool, device=mask.device)
        tokens, mask = concat_padded_sequences(tokens, mask, cls, cls_mask)
        tokens = self.norm(self.final_proj(tokens))
        pos = None if img_pos_embeds is None else img_pos_embeds[-1].to(weight.dtype)
        for layer in self.encode:
            tokens = activation_ckpt_wrapper(layer)(
                tgt=tokens,
                memory=feats,
                tgt_key_padding_mask=mask,
                pos=pos,
                act_ckpt_enable=self.training and self.use_act_ckpt,
            )
        return self.encode_norm(tokens), mask

    def _encode_points(self, prompt: Prompt, feats: Tensor) -> tuple[Tensor, Tensor]:
        """Points [N, B, 2] on feats [B, C, H, W] -> ([N, B, C], padding [B, N])."""
        points = _parts(prompt.point_embeddings, feats, 2)
        mask, labels = _mask_and_labels(prompt.point_mask, prompt.point_labels, points)
        xy = points.to(feats.dtype)
        grid = (xy.transpose(0, 1) * 2 - 1)[:, :, None]
        sampled = F.grid_sample(feats, grid, align_corners=False)[..., 0].permute(2, 0, 1)
        x, y = self.pos_enc._encode_xy(points[..., 0].flatten(), points[..., 1].flatten())
        sine = torch.cat([x, y], dim=-1).unflatten(0, points.shape[:2]).to(feats.dtype)
        tokens = (
            self.points_direct_project(xy)
            + self.points_pool_project(sampled)
            + self.points_pos_enc_project(sine)
            + self.label_embed(labels.long())
        )
        return tokens, mask

    def _encode_boxes(self, prompt: Prompt, feats: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes [N, B, 4] cxcywh on feats [B, C, H, W] -> ([N, B, C], padding [B, N])."""
        boxes = _parts(prompt.box_embeddings, feats, 4)
        mask, labels = _mask_and_labels(prompt.box_mask, prompt.box_labels, boxes)
        n, batch = boxes.shape[:2]
        height, width = feats.shape[-2:]
        scale = torch.tensor([width, height, width, height], device=feats.device)
        corners = box_cxcywh_to_xyxy(boxes.float()) * scale
        regions = roi_align(  # computed in float32: half loses sub-cell positions
            feats.float(), list(corners.transpose(0, 1).unbind(0)), self.roi_size
        ).to(feats.dtype)
        pooled = self.boxes_pool_project(regions).view(batch, n, self.d_model).transpose(0, 1)
        sine = self.pos_enc.encode_boxes(*boxes.flatten(0, 1).unbind(-1))
        tokens = (
            self.boxes_direct_project(boxes.to(feats.dtype))
            + pooled
            + self.boxes_pos_enc_project(sine.unflatten(0, (n, batch)).to(feats.dtype))
            + self.label_embed(labels.long())
        )
        return tokens, mask


def _parts(values: Tensor | None, feats: Tensor, width: int) -> Tensor:
    if values is not None:
        return values
    return torch.zeros(0, feats.shape[0], width, device=feats.device)


def _mask_and_labels(
    mask: Tensor | None, labels: Tensor | None, values: Tensor
) -> tuple[Tensor, Tensor]:
    n, batch = values.shape[:2]
    if mask is None:
        mask = torch.zeros(batch, n, dtype=torch.bool, device=values.device)
    if labels is None:
        labels = torch.ones(n, batch, dtype=torch.long, device=values.device)
    return mask, labels

"""Focal and dice losses of the instance masks of matched queries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..matching.assignment import Indices
from .base import LossWithWeights, select_targets
from .elementary import dice_loss, sigmoid_focal_loss
from .mask_sampling import (
    calculate_uncertainty,
    get_uncertain_point_coords_with_randomness,
    point_sample,
)


class Masks(LossWithWeights):
    """``loss_mask`` (focal) and ``loss_dice`` of matched masks.

    Args:
        weight_dict: weights of the two losses.
        compute_aux: also on auxiliary layers (these carry no masks, so False).
        focal_alpha, focal_gamma: focal parameters.
        num_sample_points: compute the losses on this many points per mask instead of all pixels.
        oversample_ratio, importance_sample_ratio: see ``mask_sampling``.
    """

    def __init__(
        self,
        weight_dict: Mapping[str, float] | None = None,
        compute_aux: bool = False,
        focal_alpha: float = 0.25,
        focal_gamma: float = 2,
        num_sample_points: int | None = None,
        oversample_ratio: float = 3.0,
        importance_sample_ratio: float = 0.75,
    ) -> None:
        super().__init__(weight_dict, compute_aux)
        self.focal_alpha = focal_alpha
        self.focal_gamma = focal_gamma
        self.num_sample_points = num_sample_points
        self.oversample_ratio = oversample_ratio
        self.importance_sample_ratio = importance_sample_ratio

    def get_loss(
        self,
        outputs: Mapping[str, Any],
        targets: Mapping[str, Any],
        indices: Indices,
        num_boxes: Tensor | float,
    ) -> dict[str, Tensor]:
        """Losses of ``pred_masks (B, Q, h, w)`` logits against ``masks (N, H, W)`` bool.

        Only targets with ``is_valid_mask`` count; without ``masks`` both losses are 0.
        """
        pred_masks = outputs["pred_masks"]
        if targets["masks"] is None:
            zero = torch.zeros((), device=pred_masks.device)
            return {"loss_mask": zero, "loss_dice": zero.clone()}
        batch_idx, src_idx, tgt_idx = indices
        target = select_targets(targets["masks"], tgt_idx)
        valid = targets.get("is_valid_mask")
        if valid is not None:
            keep = select_targets(valid, tgt_idx)
            batch_idx, src_idx, target = batch_idx[keep], src_idx[keep], target[keep]
        logits = pred_masks[batch_idx, src_idx]
        if len(logits) == 0:
            zero = logits.sum()  # keeps the graph, so that every parameter gets a gradient
            return {"loss_mask": zero, "loss_dice": zero}
        logits, target = self._align(logits[:, None], target[:, None].to(logits.dtype))
        focal = sigmoid_focal_loss(
            logits, target, num_boxes, alpha=self.focal_alpha, gamma=self.focal_gamma
        )
        return {"loss_mask": focal, "loss_dice": dice_loss(logits, target, num_boxes)}

    def _align(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Bring ``(N, 1, h, w)`` logits and ``(N, 1, H, W)`` targets to the same ``(N, P)``."""
        if self.num_sample_points is not None:
            coords = get_uncertain_point_coords_with_randomness(
                logits,
                calculate_uncertainty,
                self.num_sample_points,
                self.oversample_ratio,
                self.importance_sample_ratio,
            )
            with torch.no_grad():
                target = point_sample(target, coords)
            logits = point_sample(logits, coords)
        elif logits.shape[-2:] != target.shape[-2:]:
            logits = F.interpolate(
                logits, size=target.shape[-2:], mode="bilinear", align_corners=False
            )
        return logits.flatten(1), target.flatten(1)

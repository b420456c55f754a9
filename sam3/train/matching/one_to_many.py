"""One-to-many matching: each box takes every query that scores well enough on it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...errors import InputError
from ...model.box_ops import box_cxcywh_to_xyxy, box_iou


class BinaryOneToManyMatcher(nn.Module):
    """Matches a box with the top queries by ``alpha * p + (1 - alpha) * IoU``.

    Args:
        alpha: weight of the query probability against the box IoU.
        threshold: the score must be above this.
        topk: about this many queries per box may match (by quantile over the queries).
    """

    def __init__(self, alpha: float = 0.3, threshold: float = 0.4, topk: int = 6) -> None:
        super().__init__()
        if topk < 1:
            raise InputError(f"topk must be at least 1, got {topk}")
        self.alpha = alpha
        self.threshold = threshold
        self.topk = topk

    @torch.no_grad()
    def forward(
        self,
        outputs: dict[str, Tensor],
        batched_targets: dict[str, Tensor],
        out_is_valid: Tensor | None = None,
        target_is_valid_padded: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Select all good (query, box) pairs of each prompt.

        Args:
            outputs: ``pred_logits (B, Q, 1)`` and ``pred_boxes (B, Q, 4)`` normalised cxcywh.
            batched_targets: ``num_boxes (B)`` and ``boxes_padded (B, T, 4)``.
            out_is_valid: ``(B, Q)`` bool; target_is_valid_padded: ``(B, T)`` bool.

        Returns:
            int64 ``(batch_idx, src_idx, tgt_idx)``; ``tgt_idx`` counts packed boxes. A query may
            occur several times.
        """
        prob = outputs["pred_logits"].squeeze(-1).float().sigmoid()
        padded = batched_targets["boxes_padded"].float()
        counts = batched_targets["num_boxes"].to(prob.device)
        width = padded.shape[1]
        if width == 0 or prob.numel() == 0:
            none = torch.zeros(0, dtype=torch.int64, device=prob.device)
            return none, none.clone(), none.clone()
        boxes = box_cxcywh_to_xyxy(outputs["pred_boxes"].float())
        iou, _ = box_iou(boxes, box_cxcywh_to_xyxy(padded))
        score = self.alpha * prob[..., None] + (1 - self.alpha) * iou
        if out_is_valid is not None:  # before the quantile, so that valid queries fill the top k
            score = score.masked_fill(~out_is_valid[..., None], -1.0)
        level = max(0.0, 1 - self.topk / prob.shape[1])
        good = score > torch.quantile(score, level, dim=1, keepdim=True)
        good &= score > self.threshold
        good &= (torch.arange(width, device=prob.device)[None] < counts[:, None])[:, None]
        if target_is_valid_padded is not None:
            good &= target_is_valid_padded[:, None]
        batch_idx, src_idx, column = good.nonzero(as_tuple=True)
        offsets = counts.cumsum(0) - counts
        return batch_idx, src_idx, column + offsets[batch_idx]

"""One-to-one matchers: cost = class + L1 + generalised IoU, solved per prompt by SciPy.

Every call moves one cost tensor to the host, however many prompts there are.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import InputError
from .assignment import INVALID_COST, Indices, pad_packed_boxes, solve_batch
from .costs import (
    binary_class_cost,
    focal_class_cost,
    multiclass_focal_cost,
    pairwise_giou,
    pairwise_l1,
    stable_focal_class_cost,
)


def _require_some_cost(cost_class: float, cost_bbox: float, cost_giou: float) -> None:
    if cost_class == 0 and cost_bbox == 0 and cost_giou == 0:
        raise InputError("all matching costs are 0: give at least one positive weight")


class BinaryHungarianMatcherV2(nn.Module):
    """One-to-one matcher of objectness queries to boxes.

    Args:
        cost_class, cost_bbox, cost_giou: weights of the three costs.
        focal: focal class cost in place of ``-p``.
        alpha, gamma: focal parameters.
        stable: scale the probability of each pair by its box agreement (needs ``focal``).
        remove_samples_with_0_gt: leave prompts without targets out of the cost computation.
    """

    def __init__(
        self,
        cost_class: float = 1,
        cost_bbox: float = 1,
        cost_giou: float = 1,
        focal: bool = False,
        alpha: float = 0.25,
        gamma: float = 2,
        stable: bool = False,
        remove_samples_with_0_gt: bool = True,
    ) -> None:
        super().__init__()
        _require_some_cost(cost_class, cost_bbox, cost_giou)
        if stable and not focal:
            raise InputError("stable=True needs focal=True")
        self.cost_class = cost_class
        self.cost_bbox = cost_bbox
        self.cost_giou = cost_giou
        self.focal = focal
        self.alpha = alpha
        self.gamma = gamma
        self.stable = stable
        self.remove_samples_with_0_gt = remove_samples_with_0_gt

    def _cost(self, logits: Tensor, boxes: Tensor, targets: Tensor) -> Tensor:
        """``(B, Q)`` logits, ``(B, Q, 4)`` and ``(B, T, 4)`` cxcywh boxes -> ``(B, Q, T)``."""
        giou = pairwise_giou(boxes, targets)
        if not self.focal:
            cls = binary_class_cost(logits)[..., None]
        elif self.stable:
            cls = stable_focal_class_cost(logits, giou, self.alpha, self.gamma)
        else:
            cls = focal_class_cost(logits, self.alpha, self.gamma)[..., None]
        l1 = pairwise_l1(boxes, targets)
        return self.cost_bbox * l1 + self.cost_class * cls - self.cost_giou * giou

    @torch.no_grad()
    def forward(
        self,
        outputs: dict[str, Tensor],
        batched_targets: dict[str, Tensor],
        repeats: int = 1,
        repeat_batch: int = 1,
        out_is_valid: Tensor | None = None,
        target_is_valid_padded: Tensor | None = None,
    ) -> Indices:
        """Match the predictions of each prompt to its boxes.

        Args:
            outputs: ``pred_logits (B, Q, 1)`` and ``pred_boxes (B, Q, 4)`` normalised cxcywh.
            batched_targets: ``num_boxes (B)`` and ``boxes_padded (B, T, 4)`` normalised cxcywh.
            repeats: match each box to this many queries.
            repeat_batch: the outputs are this many stacked copies of the batch.
            out_is_valid: ``(B, Q)`` bool, False = never match this query.
            target_is_valid_padded: ``(B, T)`` bool, False = never match this box.

        Returns:
            int64 ``(batch_idx, src_idx, tgt_idx)``; ``tgt_idx`` counts packed boxes and is None
            when the matches are in packed order.
        """
        logits = outputs["pred_logits"].squeeze(-1).float()
        boxes = outputs["pred_boxes"].float()
        padded = batched_targets["boxes_padded"].float()
        counts = batched_targets["num_boxes"]
        if repeat_batch != 1:
            padded = padded.repeat(repeat_batch, 1, 1)
            counts = counts.repeat(repeat_batch)
            if target_is_valid_padded is not None:
                target_is_valid_padded = target_is_valid_padded.repeat(repeat_batch, 1)
        counts_np = counts.cpu().numpy()
        rows = np.flatnonzero(counts_np) if self.remove_samples_with_0_gt else None
        if rows is None or len(rows) == len(counts_np):
            rows = np.arange(len(counts_np))
        else:
            keep = torch.from_numpy(rows).to(logits.device)
            logits, boxes, padded = logits[keep], boxes[keep], padded[keep]
            out_is_valid = None if out_is_valid is None else out_is_valid[keep]
            if target_is_valid_padded is not None:
                target_is_valid_padded = target_is_valid_padded[keep]
        cost = self._cost(logits, boxes, padded)
        if out_is_valid is not None:
            cost = cost.masked_fill(~out_is_valid[..., None], INVALID_COST)
        if target_is_valid_padded is not None:
            cost = cost.masked_fill(~target_is_valid_padded[:, None], INVALID_COST)
        # A diverged model must reach the trainer's own non-finite check, not stop inside SciPy.
        cost = torch.nan_to_num(cost, nan=INVALID_COST, posinf=INVALID_COST, neginf=INVALID_COST)
        batch_idx, src_idx, tgt_idx = solve_batch(
            cost.cpu().numpy(),
            counts_np[rows],
            repeats=repeats,
            batch_ids=rows,
            always_target=out_is_valid is not None or target_is_valid_padded is not None,
        )
        device = logits.device
        return (
            torch.from_numpy(batch_idx).to(device),
            torch.from_numpy(src_idx).to(device),
            None if tgt_idx is None else torch.from_numpy(tgt_idx).to(device),
        )


class BinaryHungarianMatcher(BinaryHungarianMatcherV2):
    """The older binary matcher: class cost ``-p``, targets given as packed ``boxes (N, 4)``."""

    def __init__(self, cost_class: float = 1, cost_bbox: float = 1, cost_giou: float = 1) -> None:
        super().__init__(cost_class, cost_bbox, cost_giou)

    def forward(
        self,
        outputs: dict[str, Tensor],
        batched_targets: dict[str, Tensor],
        repeats: int = 0,
        repeat_batch: int = 1,
        out_is_valid: Tensor | None = None,
        target_is_valid_padded: Tensor | None = None,
    ) -> Indices:
        """As in ``BinaryHungarianMatcherV2``, from ``boxes`` and ``num_boxes``.

        Raises:
            InputError: ``repeat_batch`` is not 1 (use ``BinaryHungarianMatcherV2``).
        """
        if repeat_batch != 1:
            raise InputError(
                f"{type(self).__name__} takes repeat_batch=1 only, got {repeat_batch}: "
                "use BinaryHungarianMatcherV2"
            )
        num_boxes = batched_targets["num_boxes"]
        padded = pad_packed_boxes(batched_targets["boxes"], num_boxes)
        return super().forward(
            outputs,
            {"boxes_padded": padded, "num_boxes": num_boxes},
            repeats=max(repeats, 1),
            out_is_valid=out_is_valid,
            target_is_valid_padded=target_is_valid_padded,
        )


class BinaryFocalHungarianMatcher(BinaryHungarianMatcher):
    """The older binary matcher with a focal class cost, targets given as packed boxes."""

    def __init__(
        self,
        cost_class: float = 1,
        cost_bbox: float = 1,
        cost_giou: float = 1,
        alpha: float = 0.25,
        gamma: float = 2,
        stable: bool = False,
    ) -> None:
        super().__init__(cost_class, cost_bbox, cost_giou)
        self.focal = True
        self.alpha = alpha
        self.gamma = gamma
        self.stable = stable


class HungarianMatcher(nn.Module):
    """Multi-class one-to-one matcher: softmax (or focal sigmoid) class cost, L1 and GIoU."""

    def __init__(
        self,
        cost_class: float = 1,
        cost_bbox: float = 1,
        cost_giou: float = 1,
        focal_loss: bool = False,
        focal_alpha: float = 0.25,
        focal_gamma: float = 2,
    ) -> None:
        super().__init__()
        _require_some_cost(cost_class, cost_bbox, cost_giou)
        self.cost_class = cost_class
        self.cost_bbox = cost_bbox
        self.cost_giou = cost_giou
        self.focal_loss = focal_loss
        self.focal_alpha = focal_alpha
        self.focal_gamma = focal_gamma

    def _class_cost(self, logits: Tensor, targets: dict[str, Tensor]) -> Tensor:
        """``(1, B * Q, C)`` logits against all packed targets: ``(1, B * Q, N)``."""
        positive_map = targets.get("positive_map")
        if self.focal_loss:
            cost = multiclass_focal_cost(logits, self.focal_alpha, self.focal_gamma)
            if positive_map is not None:
                return cost @ (positive_map > 1e-4).to(cost.dtype).T
            return cost[..., targets["labels"]]
        prob = logits.softmax(-1)
        if positive_map is not None:
            return -(prob @ positive_map.to(prob.dtype).T)
        return -prob[..., targets["labels"]]

    @torch.no_grad()
    def forward(
        self, outputs: dict[str, Tensor], batched_targets: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Match ``pred_logits (B, Q, C)``, ``pred_boxes (B, Q, 4)`` to packed targets.

        Args:
            outputs: predictions, boxes normalised cxcywh.
            batched_targets: ``boxes (N, 4)``, ``num_boxes (B)`` and ``labels (N)`` or
                ``positive_map (N, C)``.

        Returns:
            int64 ``(batch_idx, src_idx)`` in the order of the packed boxes.
        """
        logits = outputs["pred_logits"].float()
        batch, queries = logits.shape[:2]
        boxes = outputs["pred_boxes"].float().reshape(1, -1, 4)
        target_boxes = batched_targets["boxes"].float().reshape(1, -1, 4)
        cost = self.cost_class * self._class_cost(logits.flatten(0, 1)[None], batched_targets)
        cost = cost + self.cost_bbox * pairwise_l1(boxes, target_boxes)
        cost = cost - self.cost_giou * pairwise_giou(boxes, target_boxes)
        cost_np = torch.nan_to_num(cost, nan=INVALID_COST).view(batch, queries, -1).cpu().numpy()
        counts = batched_targets["num_boxes"].cpu().numpy()
        width = int(counts.max()) if batch else 0
        starts = np.cumsum(counts) - counts
        rows = np.full((batch, queries, width), INVALID_COST, dtype=cost_np.dtype)
        for row, (start, count) in enumerate(zip(starts, counts, strict=True)):
            rows[row, :, :count] = cost_np[row, :, start : start + count]
        batch_idx, src_idx, _ = solve_batch(rows, counts, batch_ids=np.arange(batch))
        device = logits.device
        return torch.from_numpy(batch_idx).to(device), torch.from_numpy(src_idx).to(device)

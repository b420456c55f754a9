"""Pairwise matching costs between predictions and ground-truth boxes.

All functions are batched: predictions ``(B, Q, ...)`` against padded targets ``(B, T, 4)``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...model.box_ops import box_cxcywh_to_xyxy, generalized_box_iou


def pairwise_l1(pred_boxes: Tensor, target_boxes: Tensor) -> Tensor:
    """Sum of |differences| of cxcywh boxes: ``(B, Q, 4)``, ``(B, T, 4)`` -> ``(B, Q, T)``."""
    return torch.cdist(pred_boxes, target_boxes, p=1)


def pairwise_giou(pred_boxes: Tensor, target_boxes: Tensor) -> Tensor:
    """Generalised IoU of cxcywh boxes: ``(B, Q, 4)``, ``(B, T, 4)`` -> ``(B, Q, T)`` in [-1, 1]."""
    return generalized_box_iou(box_cxcywh_to_xyxy(pred_boxes), box_cxcywh_to_xyxy(target_boxes))


def binary_class_cost(logits: Tensor) -> Tensor:
    """``-sigmoid(logit)``, elementwise."""
    return -logits.sigmoid()


def focal_class_cost(logits: Tensor, alpha: float, gamma: float) -> Tensor:
    """Focal cost of calling a query an object minus that of calling it background, elementwise."""
    prob = logits.sigmoid()
    positive = -alpha * (1 - prob) ** gamma * F.logsigmoid(logits)
    negative = -(1 - alpha) * prob**gamma * F.logsigmoid(-logits)
    return positive - negative


def stable_focal_class_cost(logits: Tensor, giou: Tensor, alpha: float, gamma: float) -> Tensor:
    """Focal cost with the probability scaled by the box agreement of each pair.

    Args:
        logits: ``(B, Q)``.
        giou: ``(B, Q, T)`` in [-1, 1].

    Returns:
        ``(B, Q, T)``.
    """
    prob = logits.sigmoid()[..., None] * ((giou + 1) / 2)
    # The plain logarithm of an exact 0 would be infinite and poison the cost matrix.
    tiny = torch.finfo(prob.dtype).tiny
    positive = -alpha * (1 - prob) ** gamma * prob.clamp_min(tiny).log()
    negative = -(1 - alpha) * prob**gamma * (1 - prob).clamp_min(tiny).log()
    return positive - negative


def multiclass_focal_cost(logits: Tensor, alpha: float, gamma: float) -> Tensor:
    """Focal cost per class for sigmoid classification: ``(..., C)`` -> ``(..., C)``."""
    prob = logits.sigmoid()
    positive = alpha * (1 - prob) ** gamma * -(prob + 1e-8).log()
    negative = (1 - alpha) * prob**gamma * -(1 - prob + 1e-8).log()
    return positive - negative

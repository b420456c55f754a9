"""Elementwise sigmoid focal loss in plain torch: the portable form every device can run."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def elementwise_sigmoid_focal_loss(
    inputs: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2
) -> Tensor:
    """Focal loss of every element.

    Args:
        inputs: logits, any shape.
        targets: same shape, in [0, 1] (soft targets allowed).
        alpha: weight of the positive side; negative = no weighting.
        gamma: focusing exponent.

    Returns:
        same shape as ``inputs``.
    """
    targets = targets.to(inputs.dtype)
    loss = F.binary_cross_entropy_with_logits(inputs, targets, reduction="none")
    if gamma != 0:
        prob = inputs.sigmoid()
        # 1 - p_t, written without the double complement to save passes over large masks.
        miss = prob + targets - 2 * prob * targets
        loss = loss * (miss * miss if gamma == 2 else miss**gamma)
    if alpha >= 0:
        loss = loss * (targets * (2 * alpha - 1) + (1 - alpha))
    return loss

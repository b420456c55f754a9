"""Sigmoid focal loss: fused Triton kernels, and the plain torch form every device can run.

The fused forms need ``alpha >= 0``, give no gradient to the targets, and compute in float32.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import InputError
from ...perflib.capabilities import has_triton
from ...perflib.triton.sigmoid_focal import focal_backward, focal_forward


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


def can_fuse(inputs: Tensor, targets: Tensor, alpha: float) -> bool:
    """Whether the Triton forms give what the plain form would, on this machine."""
    fits = alpha >= 0 and inputs.shape == targets.shape and not targets.requires_grad
    return fits and inputs.is_cuda and has_triton()


def triton_sigmoid_focal_loss(
    inputs: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2
) -> Tensor:
    """:func:`elementwise_sigmoid_focal_loss` in one kernel; float32 of the shape of ``inputs``.

    Needs CUDA, or ``TRITON_INTERPRET=1`` on the CPU. Raises InputError for a negative alpha or
    other shapes.
    """
    return _fused(inputs, targets, alpha, gamma, reduce=False)


def triton_sigmoid_focal_loss_reduce(
    inputs: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2
) -> Tensor:
    """Sum of :func:`triton_sigmoid_focal_loss` over all elements, float32 scalar.

    The elementwise losses are never stored.
    """
    return _fused(inputs, targets, alpha, gamma, reduce=True)


def _fused(inputs: Tensor, targets: Tensor, alpha: float, gamma: float, reduce: bool) -> Tensor:
    if alpha < 0 or inputs.shape != targets.shape:
        raise InputError(
            "the fused focal loss needs alpha >= 0 and equal shapes, got alpha "
            f"{alpha}, {tuple(inputs.shape)} and {tuple(targets.shape)}; "
            "elementwise_sigmoid_focal_loss takes any alpha"
        )
    return _FusedFocal.apply(inputs, targets.to(inputs.dtype), float(alpha), float(gamma), reduce)


class _FusedFocal(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, targets: Tensor, alpha: float, gamma: float, reduce: bool
    ) -> Tensor:
        ctx.save_for_backward(inputs, targets)
        ctx.options = alpha, gamma, reduce
        return focal_forward(inputs, targets, alpha, gamma, reduce)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        inputs, targets = ctx.saved_tensors
        grad = focal_backward(grads[0], inputs, targets, *ctx.options)
        return grad, None, None, None, None

"""Elementary losses and metrics on flattened masks and class scores."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import InputError
from .sigmoid_focal_loss import (
    can_fuse,
    elementwise_sigmoid_focal_loss,
    triton_sigmoid_focal_loss,
    triton_sigmoid_focal_loss_reduce,
)

Count = Tensor | float | int


def _need_multimask_shape(inputs: Tensor) -> None:
    if inputs.ndim != 4:
        raise InputError(
            f"loss_on_multimask needs masks (N, M, H, W), got shape {tuple(inputs.shape)}"
        )


def dice_loss(
    inputs: Tensor,
    targets: Tensor,
    num_boxes: Count = 1,
    loss_on_multimask: bool = False,
    reduce: bool = True,
) -> Tensor:
    """Dice loss of mask logits, smoothed by 1; on the CPU where CUDA memory runs out.

    Args:
        inputs: logits ``(N, ...)``, or ``(N, M, H, W)`` with ``loss_on_multimask``.
        targets: same shape, 0 or 1.
        num_boxes: normaliser.
        reduce: sum over samples; otherwise one value per sample.

    Returns:
        scalar, ``(N,)`` without reduction, or ``(N, M)`` divided by ``num_boxes`` for multimask.
    """
    if loss_on_multimask:
        _need_multimask_shape(inputs)
    keep = 2 if loss_on_multimask else 1
    try:
        loss = _smoothed_dice(inputs.flatten(keep), targets.flatten(keep))
    except torch.OutOfMemoryError:
        loss = _smoothed_dice(inputs.cpu().flatten(keep), targets.cpu().flatten(keep))
        loss = loss.to(inputs.device)
    if loss_on_multimask:
        return loss / num_boxes
    return loss.sum() / num_boxes if reduce else loss


def _smoothed_dice(inputs: Tensor, targets: Tensor) -> Tensor:
    """Logits and targets ``(..., P)`` -> ``(...)``."""
    prob = inputs.sigmoid()
    targets = targets.to(prob.dtype)
    numerator = 2 * (prob * targets).sum(-1)
    denominator = prob.sum(-1) + targets.sum(-1)
    return 1 - (numerator + 1) / (denominator + 1)


def sigmoid_focal_loss(
    inputs: Tensor,
    targets: Tensor,
    num_boxes: Count = 1,
    alpha: float = 0.25,
    gamma: float = 2,
    loss_on_multimask: bool = False,
    reduce: bool = True,
) -> Tensor:
    """Sigmoid focal loss: mean over dim 1, sum over samples, divided by ``num_boxes``.

    Args:
        inputs: logits ``(N, P)``, or ``(N, M, H, W)`` with ``loss_on_multimask``.
        targets: same shape, in [0, 1].
        alpha: weight of positives; negative = none.
        reduce: False returns the elementwise loss.

    Returns:
        scalar, elementwise, or ``(N, M)`` (mean over pixels, divided by ``num_boxes``).
    """
    fuse = can_fuse(inputs, targets, alpha)
    if fuse and reduce and not loss_on_multimask:
        total = triton_sigmoid_focal_loss_reduce(inputs, targets, alpha, gamma)
        return total / max(inputs.shape[1], 1) / num_boxes
    focal = triton_sigmoid_focal_loss if fuse else elementwise_sigmoid_focal_loss
    loss = focal(inputs, targets, alpha, gamma)
    if loss_on_multimask:
        _need_multimask_shape(inputs)
        return loss.flatten(2).mean(-1) / num_boxes
    if not reduce:
        return loss
    return loss.mean(1).sum() / num_boxes


def iou_loss(
    inputs: Tensor,
    targets: Tensor,
    pred_ious: Tensor,
    num_boxes: Count,
    loss_on_multimask: bool = False,
    use_l1_loss: bool = False,
) -> Tensor:
    """Error of the predicted mask IoU against the IoU of the thresholded mask.

    Args:
        inputs: mask logits ``(N, M, H, W)``; targets: same shape, 0 or 1.
        pred_ious: ``(N, M)``.
        use_l1_loss: absolute instead of squared error.

    Returns:
        ``(N, M)`` divided by ``num_boxes`` for multimask, else the sum divided by it.
    """
    _need_multimask_shape(inputs)
    pred_mask = inputs.flatten(2) > 0
    true_mask = targets.flatten(2) > 0
    inter = (pred_mask & true_mask).sum(-1).to(pred_ious.dtype)
    union = (pred_mask | true_mask).sum(-1).to(pred_ious.dtype)
    actual = inter / union.clamp(min=1)
    error = F.l1_loss if use_l1_loss else F.mse_loss
    loss = error(pred_ious, actual, reduction="none")
    return loss / num_boxes if loss_on_multimask else loss.sum() / num_boxes


@torch.no_grad()
def accuracy(output: Tensor, target: Tensor, topk: Sequence[int] = (1,)) -> list[Tensor]:
    """Percentage of rows of ``output (N, C)`` whose label ``target (N)`` is in the top k."""
    if target.numel() == 0:
        return [torch.zeros((), device=output.device) for _ in topk]
    best = output.topk(max(topk), dim=1).indices
    hits = best == target[:, None]
    return [hits[:, :k].any(1).float().mean() * 100 for k in topk]


@torch.no_grad()
def segment_miou(source: Tensor, target: Tensor) -> Tensor:
    """Mean IoU of bool masks ``(N, H, W)`` over the samples with a non-empty target; 0 if none."""
    if source.shape != target.shape:
        raise InputError(
            f"masks must have the same shape, got {tuple(source.shape)} and {tuple(target.shape)}"
        )
    source, target = source.flatten(1), target.flatten(1)
    valid = target.any(1)
    inter = (source & target).sum(1).float()
    union = (source | target).sum(1).float()
    iou = inter / union.clamp(min=1)
    return (iou * valid).sum() / valid.sum().clamp(min=1)


def instance_masks_to_semantic_masks(instance_masks: Tensor, num_instances: Tensor) -> Tensor:
    """Unite the instance masks of each prompt.

    Args:
        instance_masks: packed ``(N, H, W)``.
        num_instances: ``(B,)`` int, summing to N.

    Returns:
        ``(B, H, W)`` of the dtype of the masks; if there is no instance at all,
        ``num_instances`` (all zero) as ``(B, 1, 1)``.
    """
    if len(instance_masks) == 0:
        return num_instances.reshape(-1, 1, 1)
    batch = num_instances.shape[0]
    prompt = torch.repeat_interleave(
        torch.arange(batch, device=instance_masks.device), num_instances.to(instance_masks.device)
    )
    united = torch.zeros(
        batch, *instance_masks.shape[1:], dtype=torch.float32, device=instance_masks.device
    )
    united.index_add_(0, prompt, instance_masks.to(torch.float32))
    return (united > 0).to(instance_masks.dtype)

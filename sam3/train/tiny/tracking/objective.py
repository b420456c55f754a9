"""What the tracker minimises: masks, their predicted quality, and presence."""

from __future__ import annotations

from collections import defaultdict

import torch
import torch.nn.functional as F
from torch import Tensor

from ...loss.base import CORE_LOSS_KEY
from ...loss.elementary import dice_loss, iou_loss
from .batches import ClipBatch
from .grouping import grouping_loss
from .model import Prediction, WindowOutputs
from .recipe import TrackingRecipe


class TrackingObjective:
    """Losses over all predictions of a window.

    All candidates learn the mask, since a prompt of these scenes means one thing only, and all
    learn to tell their own IoU. Only visible objects have a mask to learn.
    """

    def __init__(self, recipe: TrackingRecipe) -> None:
        self.recipe = recipe

    def __call__(self, passed: WindowOutputs, batch: ClipBatch) -> dict[str, Tensor]:
        """Named scalars; ``core_loss`` is differentiated."""
        r, outputs = self.recipe, passed.predictions
        sums: dict[str, Tensor | float] = defaultdict(float)
        targets = shrink_masks(batch.masks, outputs[0].masks.shape[-1])
        for candidates in sorted({p.masks.shape[1] for p in outputs}):
            group = [p for p in outputs if p.masks.shape[1] == candidates]
            for name, value in _mask_losses(group, targets, r).items():
                sums[name] += value
        presence = torch.cat([p.presence[:, 0] for p in outputs])
        visible = torch.cat([batch.visible[:, p.frame] for p in outputs])
        there = F.binary_cross_entropy_with_logits(presence, visible.float())
        count = sum((_learnable(targets, p).sum() for p in outputs), torch.zeros(())).clamp(min=1)
        losses = {name: value / count for name, value in sums.items()}
        losses["loss_presence"] = there
        losses["loss_grouping"] = grouping_loss(
            passed.fine_levels, passed.grouping, batch.objects.flatten(0, 1)
        )
        losses["presence_accuracy"] = ((presence > 0) == visible).float().mean()
        losses[CORE_LOSS_KEY] = (
            r.pixel * losses["loss_pixel"]
            + r.dice * losses["loss_dice"]
            + r.iou * losses["loss_iou"]
            + r.presence * there
            + r.grouping * losses["loss_grouping"]
        )
        return losses


def shrink_masks(masks: Tensor, side: int) -> Tensor:
    """Bool [N, T, R, R] -> the share of each cell they cover, [N, T, side, side] float32."""
    return F.adaptive_avg_pool2d(masks.float(), side)


def _learnable(targets: Tensor, prediction: Prediction) -> Tensor:
    """[N] bool: objects with a mask on the prediction's frame."""
    return targets[:, prediction.frame].flatten(1).amax(1) >= 0.5


def pixel_loss(masks: Tensor, wanted: Tensor, hard: float) -> Tensor:
    """Cross-entropy to which object and background contribute alike: [N, M, h, w] -> [N, M].

    With plain or focal cross-entropy empty masks are an early way out, as objects are small. Where
    the background is taken for the object with probability p it weighs ``1 + hard * p`` times as
    much: there are the other objects.
    """
    entropy = F.binary_cross_entropy_with_logits(masks, wanted, reduction="none")
    weights = (wanted, (1 - wanted) * (1 + hard * masks.detach().sigmoid()))
    inside, outside = (
        (entropy * weight).flatten(2).sum(2) / weight.flatten(2).sum(2).clamp(min=1)
        for weight in weights
    )
    return (inside + outside) / 2


def _mask_losses(
    group: list[Prediction], targets: Tensor, recipe: TrackingRecipe
) -> dict[str, Tensor]:
    """Sums over the objects of predictions with equally many candidates."""
    rows = [_learnable(targets, p) for p in group]
    masks = torch.cat([p.masks[row] for p, row in zip(group, rows, strict=True)])
    ious = torch.cat([p.ious[row] for p, row in zip(group, rows, strict=True)])
    wanted = torch.cat([targets[row, p.frame] for p, row in zip(group, rows, strict=True)])
    wanted = wanted[:, None].expand_as(masks)
    dice = dice_loss(masks, wanted, loss_on_multimask=True)
    quality = iou_loss(masks, (wanted >= 0.5).float(), ious, 1, loss_on_multimask=True)
    return {
        "loss_pixel": pixel_loss(masks, wanted, recipe.hard).mean(1).sum(),
        "loss_dice": dice.mean(1).sum(),
        "loss_iou": quality.mean(1).sum(),
    }

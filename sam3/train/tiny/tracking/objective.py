"""What the tracker minimises: masks, their predicted quality, and presence."""

from __future__ import annotations

from collections import defaultdict

import torch
import torch.nn.functional as F
from torch import Tensor

from ...loss.base import CORE_LOSS_KEY
from ...loss.elementary import dice_loss, iou_loss, sigmoid_focal_loss
from .batches import ClipBatch
from .model import Prediction
from .recipe import TrackingRecipe


class TrackingObjective:
    """Losses over all predictions of a window.

    Of several candidates the one with the smallest mask loss learns the mask; all learn to tell
    their own IoU. Only visible objects have a mask to learn.
    """

    def __init__(self, recipe: TrackingRecipe) -> None:
        self.recipe = recipe

    def __call__(self, outputs: list[Prediction], batch: ClipBatch) -> dict[str, Tensor]:
        """Named scalars; ``core_loss`` is differentiated."""
        r = self.recipe
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
        losses["presence_accuracy"] = ((presence > 0) == visible).float().mean()
        losses[CORE_LOSS_KEY] = (
            r.focal * losses["loss_focal"]
            + r.dice * losses["loss_dice"]
            + r.iou * losses["loss_iou"]
            + r.presence * there
        )
        return losses


def shrink_masks(masks: Tensor, side: int) -> Tensor:
    """Bool [N, T, R, R] -> the share of each cell they cover, [N, T, side, side] float32."""
    return F.adaptive_avg_pool2d(masks.float(), side)


def _learnable(targets: Tensor, prediction: Prediction) -> Tensor:
    """[N] bool: objects with a mask on the prediction's frame."""
    return targets[:, prediction.frame].flatten(1).amax(1) >= 0.5


def _mask_losses(
    group: list[Prediction], targets: Tensor, recipe: TrackingRecipe
) -> dict[str, Tensor]:
    """Sums over the objects of predictions with equally many candidates."""
    rows = [_learnable(targets, p) for p in group]
    masks = torch.cat([p.masks[row] for p, row in zip(group, rows, strict=True)])
    ious = torch.cat([p.ious[row] for p, row in zip(group, rows, strict=True)])
    wanted = torch.cat([targets[row, p.frame] for p, row in zip(group, rows, strict=True)])
    wanted = wanted[:, None].expand_as(masks)
    focal = sigmoid_focal_loss(masks, wanted, loss_on_multimask=True)
    dice = dice_loss(masks, wanted, loss_on_multimask=True)
    best = (recipe.focal * focal + recipe.dice * dice).detach().argmin(1, keepdim=True)
    quality = iou_loss(masks, (wanted >= 0.5).float(), ious, 1, loss_on_multimask=True)
    return {
        "loss_focal": focal.gather(1, best).sum(),
        "loss_dice": dice.gather(1, best).sum(),
        "loss_iou": quality.mean(1).sum(),
    }

"""Loss of the semantic segmentation head: the union of all instances of a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import InputError
from ...model.data_misc import interpolate
from .base import LossWithWeights
from .elementary import (
    dice_loss,
    instance_masks_to_semantic_masks,
    segment_miou,
    sigmoid_focal_loss,
)


class SemanticSegCriterion(LossWithWeights):
    """``loss_semantic_seg``, ``loss_semantic_dice`` and optionally ``loss_semantic_presence``.

    Args:
        weight_dict: weights of the losses.
        focal: focal instead of binary cross-entropy.
        focal_alpha, focal_gamma: focal parameters.
        downsample: bring the target to the size of the prediction; otherwise the reverse.
        presence_head: average only over prompts whose target is non-empty.
        presence_loss: also train ``presence_logit`` (B, 1); needs ``presence_head``.
    """

    def __init__(
        self,
        weight_dict: Mapping[str, float] | None = None,
        focal: bool = False,
        focal_alpha: float = 0.6,
        focal_gamma: float = 1.6,
        downsample: bool = True,
        presence_head: bool = False,
        presence_loss: bool = True,
    ) -> None:
        super().__init__(weight_dict, compute_aux=False)
        self.focal = focal
        self.focal_alpha = focal_alpha
        self.focal_gamma = focal_gamma
        self.downsample = downsample
        self.presence_head = presence_head
        self.presence_loss = presence_loss

    def forward(  # type: ignore[override]  # there is nothing to match here
        self, outputs: Mapping[str, Any], targets: Mapping[str, Any]
    ) -> dict[str, Tensor]:
        """Losses of ``semantic_seg (B, 1, h, w)`` logits; adds ``core_loss``.

        Targets: ``semantic_masks (B, H, W)``, or else the union of ``masks (N, H, W)`` by
        ``num_boxes (B)``.
        """
        logits, target = self._aligned(outputs["semantic_seg"], targets)
        losses: dict[str, Tensor] = {}
        if self.presence_head:
            non_empty = target.flatten(1).any(1)
            losses.update(self._presence(outputs, non_empty))
            losses.update(self._masked_losses(logits, target, non_empty))
        else:
            losses.update(self._plain_losses(logits, target))
        losses["miou_semantic_seg"] = segment_miou(logits.detach() > 0, target)
        losses["core_loss"] = self.reduce_loss(losses)
        return losses

    def _aligned(self, pred: Tensor, targets: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Logits and bool target of equal shape ``(B, H, W)``."""
        semantic = targets.get("semantic_masks")
        if semantic is None or semantic.numel() == 0:
            semantic = instance_masks_to_semantic_masks(targets["masks"], targets["num_boxes"])
        if self.downsample:
            size = pred.shape[-2:]
            if semantic.shape[-2:] != size:
                semantic = interpolate(
                    semantic[:, None].float(), size=size, mode="bilinear", align_corners=False
                )[:, 0]
            # Any coverage counts: thin objects must not vanish on the coarse grid.
            return pred[:, 0], semantic.bool()
        if semantic.shape[-2:] == (1, 1):  # no instance at all carries no size
            semantic = semantic.expand(-1, *pred.shape[-2:])
        if pred.shape[-2:] != semantic.shape[-2:]:
            pred = F.interpolate(
                pred, size=semantic.shape[-2:], mode="bilinear", align_corners=False
            )
        return pred[:, 0], semantic.bool()

    def _presence(self, outputs: Mapping[str, Any], non_empty: Tensor) -> dict[str, Tensor]:
        zero = torch.zeros((), device=non_empty.device)
        if not self.presence_loss:
            return {"loss_semantic_presence": zero, "presence_acc": zero.clone()}
        logit = outputs.get("presence_logit")
        if logit is None:
            raise InputError(
                "presence_loss=True needs outputs['presence_logit'], which this model does not "
                "give: set presence_loss=False"
            )
        logit = logit.reshape(len(non_empty))
        loss = F.binary_cross_entropy_with_logits(logit, non_empty.to(logit.dtype))
        right = ((logit > 0) == non_empty).float().mean()
        return {"loss_semantic_presence": loss, "presence_acc": right}

    def _masked_losses(
        self, logits: Tensor, target: Tensor, non_empty: Tensor
    ) -> dict[str, Tensor]:
        weight = non_empty.to(logits.dtype)
        count = weight.sum() + 1e-6
        return {
            "loss_semantic_seg": (self._pixel_loss(logits, target) * weight).sum() / count,
            "loss_semantic_dice": (dice_loss(logits, target, reduce=False) * weight).sum() / count,
        }

    def _plain_losses(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        count = max(len(logits), 1)
        return {
            "loss_semantic_seg": self._pixel_loss(logits, target).sum() / count,
            "loss_semantic_dice": dice_loss(logits, target, count),
        }

    def _pixel_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean over the pixels of each prompt, ``(B,)``."""
        flat, wanted = logits.flatten(1), target.flatten(1).to(logits.dtype)
        if self.focal:
            loss = sigmoid_focal_loss(
                flat, wanted, alpha=self.focal_alpha, gamma=self.focal_gamma, reduce=False
            )
        else:
            loss = F.binary_cross_entropy_with_logits(flat, wanted, reduction="none")
        return loss.mean(1)

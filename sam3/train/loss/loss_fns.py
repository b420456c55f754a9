"""Front door of the losses: every public name configurations and callers use.

Each loss lives in its own file next to this one.
"""

from __future__ import annotations

from .base import CORE_LOSS_KEY, LossWithWeights
from .boxes import Boxes
from .elementary import (
    accuracy,
    dice_loss,
    instance_masks_to_semantic_masks,
    iou_loss,
    segment_miou,
    sigmoid_focal_loss,
)
from .iabce import IABCEMdetr
from .masks import Masks
from .semantic import SemanticSegCriterion

__all__ = [
    "CORE_LOSS_KEY",
    "Boxes",
    "IABCEMdetr",
    "LossWithWeights",
    "Masks",
    "SemanticSegCriterion",
    "accuracy",
    "dice_loss",
    "instance_masks_to_semantic_masks",
    "iou_loss",
    "segment_miou",
    "sigmoid_focal_loss",
]

"""Front door of the losses: every public name configurations and callers use.

Each loss lives in its own file next to this one.
"""

from __future__ import annotations

from .association import Det2TrkAssoc, TrackingByDetectionAssoc
from .base import CORE_LOSS_KEY, LossWithWeights
from .boxes import Boxes
from .contrastive import contrastive_align_loss
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
    "Det2TrkAssoc",
    "IABCEMdetr",
    "LossWithWeights",
    "Masks",
    "SemanticSegCriterion",
    "TrackingByDetectionAssoc",
    "accuracy",
    "contrastive_align_loss",
    "dice_loss",
    "instance_masks_to_semantic_masks",
    "iou_loss",
    "segment_miou",
    "sigmoid_focal_loss",
]

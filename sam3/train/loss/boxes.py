"""Box regression losses of matched queries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from ...model.box_ops import box_cxcywh_to_xyxy, fast_diag_generalized_box_iou
from ..matching.assignment import Indices
from .base import LossWithWeights, select_targets


class Boxes(LossWithWeights):
    """``loss_bbox`` (L1 of cxcywh) and ``loss_giou`` (1 - GIoU) of matched pairs."""

    def __init__(
        self, weight_dict: Mapping[str, float] | None = None, compute_aux: bool = True
    ) -> None:
        super().__init__(weight_dict, compute_aux)

    def get_loss(
        self,
        outputs: Mapping[str, Any],
        targets: Mapping[str, Any],
        indices: Indices,
        num_boxes: Tensor | float,
    ) -> dict[str, Tensor]:
        """Sums over the matches divided by ``num_boxes``.

        Reads ``pred_boxes`` (B, Q, 4) and targets ``boxes``, ``boxes_xyxy`` (N, 4).
        """
        batch_idx, src_idx, tgt_idx = indices
        cxcywh = outputs["pred_boxes"][batch_idx, src_idx]
        xyxy = box_cxcywh_to_xyxy(cxcywh)
        loss_bbox = F.l1_loss(cxcywh, select_targets(targets["boxes"], tgt_idx), reduction="sum")
        giou = fast_diag_generalized_box_iou(xyxy, select_targets(targets["boxes_xyxy"], tgt_idx))
        return {"loss_bbox": loss_bbox / num_boxes, "loss_giou": (1 - giou).sum() / num_boxes}

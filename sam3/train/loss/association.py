"""Losses that tell which detection is which track: cross-entropies over association logits.

A row of association logits belongs to one detection (or track); its classes are the tracks (or
detections) and the special answers behind them. Rows with the label ``IGNORED`` do not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..matching.assignment import Indices
from .base import LossWithWeights

IGNORED = -1
DET_TO_TRK, TRK_TO_DET = "loss_det2trk_assoc", "loss_trk2det_assoc"


class AssociationLoss(LossWithWeights):
    """Base of the association losses: they speak of one-to-one outputs only."""


class Det2TrkAssoc(AssociationLoss):
    """``loss_det2trk_assoc``: every detection names its track, or says that it has none.

    Of Q_trk + 2 classes, the first name tracks, Q_trk is a new object and Q_trk + 1 a false
    positive. A detection matched to an object that no track holds is new; an unmatched one is left
    out, or with ``use_fp_loss`` called a false positive if its logit is above 0.

    Args:
        weight_dict: weight of the loss (default 1).
        compute_aux: also on auxiliary layers.
        use_fp_loss: teach false positives.
        fp_loss_on_exhaustive_only: teach them only where every object is annotated.
        treat_fp_as_new_obj: call false positives new objects, whatever the annotation.
    """

    def __init__(
        self,
        weight_dict: Mapping[str, float] | None = None,
        compute_aux: bool = False,
        use_fp_loss: bool = False,
        fp_loss_on_exhaustive_only: bool = True,
        treat_fp_as_new_obj: bool = False,
    ) -> None:
        super().__init__({DET_TO_TRK: 1.0} if weight_dict is None else weight_dict, compute_aux)
        self.use_fp_loss = use_fp_loss
        self.fp_loss_on_exhaustive_only = fp_loss_on_exhaustive_only
        self.treat_fp_as_new_obj = treat_fp_as_new_obj

    def get_loss(
        self,
        outputs: Mapping[str, Any],
        targets: Mapping[str, Any],
        indices: Indices,
        num_boxes: Tensor | float,
    ) -> dict[str, Tensor]:
        """Sum over the detections of frames that have a track, divided by B x ``num_boxes``.

        Reads ``det2trk_assoc_logits (B, Q_det, Q_trk + 2)``, ``matched_object_ids (B, Q_det +
        Q_trk)`` (the object each query is matched to, below 0 for none), ``pred_logits (B, Q, 1)``
        and the target ``is_exhaustive (B)``.
        """
        logits = outputs["det2trk_assoc_logits"]
        num_det, num_trk = logits.shape[1], logits.shape[2] - 2
        det_ids, trk_ids = outputs["matched_object_ids"].split([num_det, num_trk], dim=1)
        labels = position_of(det_ids, trk_ids, missing=num_trk)
        if self.use_fp_loss:
            wrong = (det_ids < 0) & (outputs["pred_logits"][:, :num_det, 0] > 0)
            if self.fp_loss_on_exhaustive_only and not self.treat_fp_as_new_obj:
                wrong &= targets["is_exhaustive"].bool()[:, None]
            labels = labels.masked_fill(wrong, num_trk if self.treat_fp_as_new_obj else num_trk + 1)
        return {DET_TO_TRK: _cross_entropy(logits, labels, trk_ids, num_boxes)}


class TrackingByDetectionAssoc(AssociationLoss):
    """Detections name their tracks and tracks their detections.

    ``loss_det2trk_assoc``: class Q_trk is a new object; ``loss_trk2det_assoc``: class Q_det is an
    object that no detection shows.
    """

    def __init__(
        self, weight_dict: Mapping[str, float] | None = None, compute_aux: bool = False
    ) -> None:
        default = {DET_TO_TRK: 1.0, TRK_TO_DET: 1.0}
        super().__init__(default if weight_dict is None else weight_dict, compute_aux)

    def get_loss(
        self,
        outputs: Mapping[str, Any],
        targets: Mapping[str, Any],
        indices: Indices,
        num_boxes: Tensor | float,
    ) -> dict[str, Tensor]:
        """Sums over the queries of frames that have a track, divided by B x ``num_boxes``.

        Reads ``det2trk_assoc_logits (B, Q_det + 1, Q_trk + 1)``, ``matched_object_ids (B, Q_det)``
        and ``prev_trk_object_ids (B, Q_trk)``, ids below 0 for none.
        """
        logits = outputs["det2trk_assoc_logits"]
        num_det, num_trk = logits.shape[1] - 1, logits.shape[2] - 1
        det_ids = outputs["matched_object_ids"][:, :num_det]
        trk_ids = outputs["prev_trk_object_ids"]
        to_trk = position_of(det_ids, trk_ids, missing=num_trk)
        to_det = position_of(trk_ids, det_ids, missing=num_det)
        return {
            DET_TO_TRK: _cross_entropy(logits[:, :-1], to_trk, trk_ids, num_boxes),
            TRK_TO_DET: _cross_entropy(logits.mT[:, :-1], to_det, trk_ids, num_boxes),
        }


def position_of(ids: Tensor, among: Tensor, missing: int) -> Tensor:
    """First column of ``among (B, M)`` with the id, for every id of ``ids (B, N)``: int64 (B, N).

    ``missing`` for ids that are not there, ``IGNORED`` for ids below 0, which stand for nothing.
    """
    if among.shape[1] == 0:
        first = torch.full_like(ids, missing, dtype=torch.int64)
    else:
        same = ids[:, :, None] == among[:, None, :]
        first = torch.where(same.any(-1), same.to(torch.uint8).argmax(-1), missing)
    return first.masked_fill(ids < 0, IGNORED)


def _cross_entropy(
    logits: Tensor, labels: Tensor, track_ids: Tensor, num_boxes: Tensor | float
) -> Tensor:
    """Summed cross-entropy of (B, N, C) logits over frames with a track, / (B x num_boxes)."""
    labels = labels.masked_fill(~(track_ids >= 0).any(1, keepdim=True), IGNORED)
    loss = F.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    return loss / (len(logits) * num_boxes)

"""IoU-aware binary cross-entropy of the object queries, with the presence loss of a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import InputError
from ...model.box_ops import fast_diag_box_iou
from ..matching.assignment import Indices
from .base import LossWithWeights, select_targets
from .elementary import sigmoid_focal_loss

FALSE_POSITIVE_TRACK = -2  # value of pred_old_obj_ids for a propagated false positive


@dataclass(frozen=True, kw_only=True)
class DetTrkScales:
    """Loss scales of detection queries (by exhaustiveness) and tracking queries."""

    det_exhaustive_pos: float = 1.0
    det_exhaustive_neg: float = 1.0
    det_non_exhaustive_pos: float = 1.0
    det_non_exhaustive_neg: float = 1.0
    trk_pos: float = 1.0
    trk_neg: float = 1.0

    def table(self, matched: Tensor, is_exhaustive: Tensor, num_det: int) -> Tensor:
        """Scale of every query, ``(B, Q)``, for ``matched (B, Q)`` and ``is_exhaustive (B)``."""
        positive = matched.float()
        full = is_exhaustive.float()[:, None]
        pos = full * self.det_exhaustive_pos + (1 - full) * self.det_non_exhaustive_pos
        neg = full * self.det_exhaustive_neg + (1 - full) * self.det_non_exhaustive_neg
        det = positive * pos + (1 - positive) * neg
        trk = positive * self.trk_pos + (1 - positive) * self.trk_neg
        is_det = torch.arange(matched.shape[1], device=matched.device)[None] < num_det
        return torch.where(is_det, det, trk)


class IABCEMdetr(LossWithWeights):
    """Query classification towards the IoU of the box, and presence of the concept.

    Matched queries aim at ``t = max(0.01, p^alpha * IoU^(1 - alpha))``; others at 0, weighted by
    ``p^gamma``. With ``use_presence`` prompts without an object train the presence token only.

    Args:
        pos_weight: weight of matched queries.
        weight_dict: weights of ``loss_ce`` and ``presence_loss``.
        weak_loss: leave out the unmatched queries of prompts that are not exhaustively annotated.
        pos_focal: focal loss (alpha 0.5) instead of cross-entropy for matched queries.
        pad_n_queries: normalise as if there were this many queries.
        pad_scale_pos: extra weight of matched queries when padding applies.
        use_separate_loss_for_det_and_trk: scale detection and tracking queries apart by the
            ``det_*`` and ``trk_*`` arguments; ``num_det_queries`` (or ``outputs["Q_det"]``) says
            how many queries come first as detections (default: all).
        no_loss_for_fp_propagation: drop propagated false positives of non-exhaustive prompts.
        apply_loss_to_det_queries_in_video_grounding: False drops detection queries of prompts
            flagged ``is_video_grounding_batch``.
    """

    def __init__(
        self,
        pos_weight: float,
        weight_dict: Mapping[str, float] | None = None,
        compute_aux: bool = True,
        gamma: float = 0,
        weak_loss: bool = True,
        alpha: float = 0.25,
        pad_n_queries: int | None = None,
        pad_scale_pos: float = 1.0,
        use_presence: bool = False,
        presence_alpha: float = 0.5,
        presence_gamma: float = 0.0,
        pos_focal: bool = False,
        use_separate_loss_for_det_and_trk: bool = False,
        num_det_queries: int | None = None,
        det_exhaustive_loss_scale_pos: float = 1.0,
        det_exhaustive_loss_scale_neg: float = 1.0,
        det_non_exhaustive_loss_scale_pos: float = 1.0,
        det_non_exhaustive_loss_scale_neg: float = 1.0,
        trk_loss_scale_pos: float = 1.0,
        trk_loss_scale_neg: float = 1.0,
        no_loss_for_fp_propagation: bool = False,
        apply_loss_to_det_queries_in_video_grounding: bool = True,
    ) -> None:
        super().__init__(weight_dict, compute_aux)
        if weak_loss and use_separate_loss_for_det_and_trk:
            raise InputError("weak_loss and use_separate_loss_for_det_and_trk exclude each other")
        self.pos_weight = pos_weight
        self.gamma = gamma
        self.weak_loss = weak_loss
        self.alpha = alpha
        self.pad_n_queries = pad_n_queries
        self.pad_scale_pos = pad_scale_pos
        self.use_presence = use_presence
        self.presence_alpha = presence_alpha
        self.presence_gamma = presence_gamma
        self.pos_focal = pos_focal
        self.num_det_queries = num_det_queries
        self.no_loss_for_fp_propagation = no_loss_for_fp_propagation
        self.apply_loss_to_det_queries_in_video_grounding = (
            apply_loss_to_det_queries_in_video_grounding
        )
        self.scales = None
        if use_separate_loss_for_det_and_trk:
            self.scales = DetTrkScales(
                det_exhaustive_pos=det_exhaustive_loss_scale_pos,
                det_exhaustive_neg=det_exhaustive_loss_scale_neg,
                det_non_exhaustive_pos=det_non_exhaustive_loss_scale_pos,
                det_non_exhaustive_neg=det_non_exhaustive_loss_scale_neg,
                trk_pos=trk_loss_scale_pos,
                trk_neg=trk_loss_scale_neg,
            )

    def get_loss(
        self,
        outputs: Mapping[str, Any],
        targets: Mapping[str, Any],
        indices: Indices,
        num_boxes: Tensor | float,
    ) -> dict[str, Tensor]:
        """Losses ``loss_ce`` and ``presence_loss``; metrics ``ce_f1`` and ``presence_dec_acc``.

        Reads ``pred_logits (B, Q, 1)``, ``pred_boxes_xyxy (B, Q, 4)``, ``presence_logit_dec
        (B, 1)`` and targets ``boxes_xyxy``, ``boxes_padded``, ``object_ids_padded``,
        ``is_exhaustive``.
        """
        logits = outputs["pred_logits"].squeeze(-1)
        matched, soft = self._soft_targets(logits, outputs, targets, indices)
        loss = self._elementwise(logits, matched, soft)
        loss, kept = self._apply_scales(loss, matched, outputs, targets)
        presence_logit = None
        keep = self._present(targets).to(loss.dtype)
        if self.use_presence:
            loss = loss * keep[:, None]
            presence_logit = outputs.get("presence_logit_dec")
        return {
            "loss_ce": self._reduce(loss, kept),
            "ce_f1": _binary_f1(logits.detach() > 0, matched),
            **self._presence_losses(presence_logit, keep),
        }

    def _soft_targets(
        self,
        logits: Tensor,
        outputs: Mapping[str, Any],
        targets: Mapping[str, Any],
        indices: Indices,
    ) -> tuple[Tensor, Tensor]:
        """Which queries are matched, bool ``(B, Q)``, and their target probability ``(B, Q)``."""
        batch_idx, src_idx, tgt_idx = indices
        with torch.no_grad():
            matched = torch.zeros_like(logits, dtype=torch.bool)
            matched[batch_idx, src_idx] = True
            pred = outputs["pred_boxes_xyxy"][batch_idx, src_idx]
            iou = fast_diag_box_iou(pred, select_targets(targets["boxes_xyxy"], tgt_idx))
            prob = logits[batch_idx, src_idx].sigmoid()
            wanted = prob**self.alpha * iou.clamp(min=0) ** (1 - self.alpha)
            soft = torch.zeros_like(logits)
            soft[batch_idx, src_idx] = wanted.clamp(min=0.01).to(soft.dtype)
        return matched, soft

    def _elementwise(self, logits: Tensor, matched: Tensor, soft: Tensor) -> Tensor:
        """Loss of every query, ``(B, Q)``, before any scale or mask."""
        if self.pos_focal:
            positive = sigmoid_focal_loss(logits, soft, alpha=0.5, gamma=self.gamma, reduce=False)
        else:
            positive = F.binary_cross_entropy_with_logits(logits, soft, reduction="none")
        positive = positive * self.pos_weight
        if self._pads(logits.shape[1]):
            positive = positive * self.pad_scale_pos
        negative = F.softplus(logits)  # cross-entropy towards 0
        if self.gamma != 0:
            negative = negative * logits.sigmoid() ** self.gamma
        return torch.where(matched, positive, negative)

    def _pads(self, queries: int) -> bool:
        return self.pad_n_queries is not None and queries < self.pad_n_queries

    def _apply_scales(
        self,
        loss: Tensor,
        matched: Tensor,
        outputs: Mapping[str, Any],
        targets: Mapping[str, Any],
    ) -> tuple[Tensor, Tensor | None]:
        """Apply annotation-dependent scales; also which elements count, or None for all."""
        kept = None
        exhaustive = targets.get("is_exhaustive")
        if self.weak_loss and exhaustive is not None:
            kept = (matched | exhaustive.bool()[:, None]).to(loss.dtype)
            loss = loss * kept
        num_det = int(outputs.get("Q_det", self.num_det_queries or loss.shape[1]))
        if self.scales is not None:
            loss = loss * self.scales.table(matched, targets["is_exhaustive"], num_det)
        if self.no_loss_for_fp_propagation and "pred_old_obj_ids" in outputs:
            propagated = outputs["pred_old_obj_ids"] == FALSE_POSITIVE_TRACK
            loss = loss * ~(propagated & ~targets["is_exhaustive"].bool()[:, None])
        video = targets.get("is_video_grounding_batch")
        if video is not None and not self.apply_loss_to_det_queries_in_video_grounding:
            is_det = torch.arange(loss.shape[1], device=loss.device)[None] < num_det
            loss = loss * ~(is_det & torch.as_tensor(video, device=loss.device).reshape(-1, 1))
        return loss, kept

    def _reduce(self, loss: Tensor, kept: Tensor | None) -> Tensor:
        batch, queries = loss.shape
        if self._pads(queries):
            return loss.sum() / (self.pad_n_queries * batch)
        if kept is not None:
            return loss.sum() / (kept.sum() + 1e-6)
        return loss.mean()

    @staticmethod
    def _present(targets: Mapping[str, Any]) -> Tensor:
        """Whether each prompt has a real object, bool ``(B,)``."""
        boxes = targets["boxes_padded"]
        real = (targets["object_ids_padded"] >= 0) & (boxes[..., 2:] > 0).all(-1)
        return real.any(1)

    def _presence_losses(self, logit: Tensor | None, keep: Tensor) -> dict[str, Tensor]:
        if logit is None:  # unused, or a one-to-many output, which has no presence token
            zero = torch.zeros((), device=keep.device)
            return {"presence_loss": zero, "presence_dec_acc": zero.clone()}
        logit = logit.reshape(len(keep), 1)
        loss = sigmoid_focal_loss(
            logit,
            keep[:, None],
            max(len(keep), 1),
            alpha=self.presence_alpha,
            gamma=self.presence_gamma,
        )
        right = ((logit[:, 0].detach() > 0) == keep.bool()).float().mean()
        return {"presence_loss": loss, "presence_dec_acc": right}


def _binary_f1(predicted: Tensor, actual: Tensor) -> Tensor:
    """F1 of two bool tensors of equal shape; 0 when both are all False."""
    hits = (predicted & actual).sum()
    return 2 * hits / (predicted.sum() + actual.sum()).clamp(min=1)

"""A quick measure during training: fixed held-out scenes at model size.

The full report, at native picture sizes, is ``sam3.train.eval.evaluate_scenes``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ...model.sam3_image import Sam3Image
from ..data.scenes.dataset import SceneBatches
from ..eval.detection_metrics import average_precision, matched_iou, presence_metrics
from ..eval.matching_records import PairRecord, box_iou
from .objective import shrink

_READ = ("presence_logit_dec", "pred_logits", "pred_masks", "pred_boxes_xyxy", "semantic_seg")
_IGNORED_SCORE = 0.02  # lower ones cannot matter to AP and cost time


class QuickEvaluation:
    """Call it with a model in eval mode to get a few numbers on the same scenes every time.

    Args:
        folder: scenes that training does not draw from.
        images: how many of them.
        side: of the pictures the model takes.
        mask_size: side of the model's masks.
    """

    def __init__(
        self, folder: Path, images: int, *, side: int, mask_size: int, batch_images: int = 16
    ) -> None:
        batches = SceneBatches(folder, batch_images, 2, seed=0, mask_size=mask_size, augment=False)
        count = max(1, images // batch_images)
        self.batches = [shrink(batches.batch(number, level=1), side) for number in range(count)]

    @torch.no_grad()
    def __call__(self, model: nn.Module, step: int) -> dict[str, float]:
        """The numbers of :class:`SceneScores`."""
        scores = SceneScores()
        for batch in self.batches:
            scores.add(model(batch)[0][-1], Sam3Image.back_convert(batch.find_targets[0]))
        return scores.metrics()


class SceneScores:
    """What a model answered about scenes, batch by batch, and the numbers that follow."""

    def __init__(self) -> None:
        self.records: list[PairRecord] = []
        self.overlaps: list[float] = []
        self.semantic: list[float] = []

    def add(self, out: dict[str, Tensor], targets: dict[str, Tensor]) -> None:
        """Take the last outputs of a stage and its targets, on any device."""
        out = {name: out[name].detach().float().cpu() for name in _READ}
        targets = {n: v.cpu() for n, v in targets.items() if isinstance(v, Tensor)}
        self.records += _records(out, targets)
        present = targets["num_boxes"] > 0
        self.overlaps.append(_query_overlap(out["pred_masks"][present] > 0))
        self.semantic.append(_semantic_iou(out["semantic_seg"][:, 0] > 0, targets))

    def extend(self, other: SceneScores) -> None:
        """Take what another one has."""
        self.records += other.records
        self.overlaps += other.overlaps
        self.semantic += other.semantic

    def metrics(self) -> dict[str, float]:
        """Mask AP at IoU 0.5, IoU of matched masks (missed = 0), presence accuracy, semantic IoU
        and the mean IoU between the masks of different queries (near 1 = collapsed)."""
        matched, presence = matched_iou(self.records), presence_metrics(self.records)
        return {
            "mask_AP50": average_precision(self.records, 0.5),
            "matched_iou": matched["mask_iou_missed_0"],
            "recall_50": matched["recall_50"],
            "presence_accuracy": presence["presence_accuracy"],
            "presence_majority": presence["presence_majority_rate"],
            "semantic_iou": float(np.mean(self.semantic)),
            "iou_between_queries": float(np.mean(self.overlaps)),
        }


def _records(out: dict[str, Tensor], targets: dict[str, Tensor]) -> list[PairRecord]:
    """One record per prompt of a batch."""
    presence = out["presence_logit_dec"].reshape(-1).sigmoid()
    scores = out["pred_logits"].squeeze(-1).sigmoid() * presence[:, None]
    masks = (out["pred_masks"] > 0).flatten(2).float()
    found = []
    start = 0
    for row, count in enumerate(targets["num_boxes"].tolist()):
        part = slice(start, start + count)
        start += count
        keep = scores[row] > _IGNORED_SCORE
        ious = _mask_iou(masks[row, keep], targets["masks"][part].flatten(1).float())
        boxes = box_iou(
            out["pred_boxes_xyxy"][row, keep].numpy(), targets["boxes_xyxy"][part].numpy()
        )
        found.append(
            PairRecord(
                mask_ious=ious.numpy(),
                box_ious=boxes,
                scores=scores[row, keep].double().numpy(),
                presence=float(presence[row]),
            )
        )
    return found


def _mask_iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU of flat 0/1 masks ``(P, N)`` and ``(G, N)`` -> ``(P, G)``; 0 for two empty ones."""
    inter = first @ second.T
    union = first.sum(1)[:, None] + second.sum(1)[None] - inter
    return inter / union.clamp(min=1)


def _query_overlap(masks: Tensor) -> float:
    """Mean IoU between the masks ``(B, Q, h, w)`` of different queries of a prompt."""
    if not len(masks):
        return float("nan")
    flat = masks.flatten(2).float()
    inter = flat @ flat.transpose(1, 2)
    area = flat.sum(2)
    union = area[:, :, None] + area[:, None] - inter
    iou = inter / union.clamp(min=1)
    queries = iou.shape[1]
    off = iou.sum((1, 2)) - iou.diagonal(dim1=1, dim2=2).sum(1)
    return float((off / (queries * (queries - 1))).mean())


def _semantic_iou(pred: Tensor, targets: dict[str, Tensor]) -> float:
    """Mean IoU of the semantic masks ``(B, h, w)`` over prompts with an instance."""
    values, start = [], 0
    for row, count in enumerate(targets["num_boxes"].tolist()):
        if count:
            truth = targets["masks"][start : start + count].any(0)
            inter = (pred[row] & truth).sum()
            values.append(float(inter / (pred[row] | truth).sum().clamp(min=1)))
        start += count
    return float(np.mean(values)) if values else float("nan")

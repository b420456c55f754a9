"""cgF1 of a file of predictions against one ground truth, or the best of several (oracle)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .cgf1_metrics import PairCounts, best_of, concept_metrics
from .coco_tools import as_rle, box_ious, mask_ious
from .files import read_json

log = logging.getLogger(__name__)

SCORE_THRESHOLD = 0.5
Rows = list[dict[str, Any]]


class CGF1Evaluator:
    """Metrics of SA-Co as ``cgF1_eval_<iou_type>_<metric>``.

    The images of the ground truth are (picture, phrase) pairs. Pairs that any of the files calls
    not exhaustively annotated (``is_instance_exhaustive``) are left out. With several files each
    pair is judged by the one that agrees best.

    Args:
        gt_path: a COCO file, or several of the same pairs by different annotators.
        iou_type: "bbox" or "segm".
    """

    def __init__(self, gt_path: str | Path | Sequence[str | Path], iou_type: str = "bbox") -> None:
        if iou_type not in ("bbox", "segm"):
            raise InputError(f"iou_type must be 'bbox' or 'segm', got {iou_type!r}")
        paths = [gt_path] if isinstance(gt_path, (str, Path)) else list(gt_path)
        if not paths:
            raise InputError("gt_path needs at least one ground-truth file")
        self.gt_paths = [Path(path) for path in paths]
        self.iou_type = iou_type

    def evaluate(self, pred_file: str | Path) -> dict[str, float]:
        """Metrics of a file of COCO result rows; scores below 0.5 do not count.

        Raises:
            InputError: a file is missing or broken, or the ground truths have different pairs.
        """
        truths = [_GroundTruth(path) for path in self.gt_paths]
        pairs = self._pairs(truths)
        kept = (row for row in read_json(pred_file) if row["score"] >= SCORE_THRESHOLD)
        predictions = by_image(kept)
        counts = [
            best_of([self._count(predictions.get(pair, []), truth, pair) for truth in truths])
            for pair in pairs
        ]
        prefix = f"cgF1_eval_{self.iou_type}_"
        metrics = {prefix + name: value for name, value in concept_metrics(counts).items()}
        log.info("%s: %s", pred_file, {k: round(v, 4) for k, v in metrics.items()})
        return metrics

    def _pairs(self, truths: Sequence[_GroundTruth]) -> list[int]:
        """Ids of the pairs that every file calls exhaustively annotated."""
        first = truths[0]
        for path, other in zip(self.gt_paths, truths, strict=True):
            odd = sorted(first.images.keys() ^ other.images.keys())
            if odd:
                raise InputError(
                    f"{self.gt_paths[0]} and {path} have different pairs, such as {odd[:5]}: "
                    "give annotations of the same pairs"
                )
        return [i for i in first.images if all(truth.is_exhaustive(i) for truth in truths)]

    def _count(self, predictions: Rows, truth: _GroundTruth, pair: int) -> PairCounts:
        objects = truth.objects.get(pair, [])
        if not predictions or not objects:
            return PairCounts.from_ious(np.zeros((len(predictions), len(objects))))
        if self.iou_type == "bbox":
            boxes = ([row["bbox"] for row in rows] for rows in (predictions, objects))
            return PairCounts.from_ious(box_ious(*boxes))
        image = truth.images[pair]
        size = (image["height"], image["width"]) if "height" in image else None
        masks = (
            [as_rle(row["segmentation"], size) for row in rows] for rows in (predictions, objects)
        )
        return PairCounts.from_ious(mask_ious(*masks))


class _GroundTruth:
    """One annotator's file: images and objects by pair id."""

    def __init__(self, path: Path) -> None:
        data = read_json(path)
        self.images: dict[int, Mapping[str, Any]] = {i["id"]: i for i in data["images"]}
        self.objects = by_image(data["annotations"])

    def is_exhaustive(self, pair: int) -> bool:
        """Whether every object of the pair is annotated; so if nothing else is said."""
        return bool(self.images[pair].get("is_instance_exhaustive", True))


def by_image(rows: Any) -> dict[int, Rows]:
    """Rows grouped by ``image_id``."""
    grouped: dict[int, Rows] = {}
    for row in rows:
        grouped.setdefault(row["image_id"], []).append(row)
    return grouped

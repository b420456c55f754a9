"""COCO average precision from a ground-truth file and a file of predictions."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ..errors import InputError
from .coco_tools import coco_classes, make_coco, quietly
from .files import read_json
from .tide_errors import tide_errors

log = logging.getLogger(__name__)

# In the order of COCOeval.stats.
_STATS = (
    *("AP", "AP_50", "AP_75", "AP_small", "AP_medium", "AP_large"),
    *("AR_maxDets@1", "AR_maxDets@10", "AR_maxDets@100", "AR_small", "AR_medium", "AR_large"),
)


class CocoEvaluatorOfflineWithPredFileEvaluators:
    """COCO AP and AR as ``coco_eval_<iou_type>_<statistic>``.

    Args:
        gt_path: ground truth in COCO format.
        tide: also the errors of the package tidecv (shares of AP that each kind of error costs).
        iou_type: "bbox" or "segm".
        positive_split: drop predictions of categories that the picture does not have.
    """

    def __init__(
        self,
        gt_path: str | Path,
        tide: bool = False,
        iou_type: str = "bbox",
        positive_split: bool = False,
    ) -> None:
        if iou_type not in ("bbox", "segm"):
            raise InputError(f"iou_type must be 'bbox' or 'segm', got {iou_type!r}")
        self.gt_path = Path(gt_path)
        self.tide = tide
        self.iou_type = iou_type
        self.positive_split = positive_split

    def evaluate(self, pred_file: str | Path) -> dict[str, float]:
        """Statistics of a file of COCO result rows; -1 where the ground truth has no such objects.

        Raises:
            InputError: a file is missing or broken, or rows name pictures the ground truth lacks.
        """
        truth = read_json(self.gt_path)
        rows = self._rows(pred_file, truth)
        images, categories = truth["images"], truth["categories"]
        evaluation = coco_classes()[1](
            make_coco(images, categories, truth["annotations"]),
            make_coco(images, categories, rows),
            self.iou_type,
        )
        with quietly():
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        prefix = f"coco_eval_{self.iou_type}_"
        metrics = {
            prefix + name: float(v) for name, v in zip(_STATS, evaluation.stats, strict=True)
        }
        if self.tide:
            errors = tide_errors(truth, rows, self.iou_type)
            metrics.update({f"{prefix}tide_{name}": value for name, value in errors.items()})
        log.info("%s: %s", pred_file, {k: round(v, 4) for k, v in metrics.items()})
        return metrics

    def _rows(self, pred_file: str | Path, truth: dict[str, Any]) -> list[dict[str, Any]]:
        rows = read_json(pred_file)
        known = {image["id"] for image in truth["images"]}
        strange = sorted({row["image_id"] for row in rows} - known)
        if strange:
            raise InputError(
                f"{pred_file} has predictions for pictures {strange[:5]} ({len(strange)} in all) "
                f"that {self.gt_path} does not have: give the file that was predicted on, "
                "re-indexed in the same way"
            )
        if self.iou_type == "segm":
            rows = [row for row in rows if row.get("segmentation")]
        if self.positive_split:
            present = {(a["image_id"], a["category_id"]) for a in truth["annotations"]}
            rows = [row for row in rows if (row["image_id"], row["category_id"]) in present]
        return rows

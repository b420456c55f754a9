"""Predictions of the image model as COCO result files, and metrics from the merged file."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import InputError
from ..model.box_ops import box_xyxy_to_xywh
from ..model.data_misc import BatchedInferenceMetadata
from ..perflib.distributed import Collective
from .coco_tools import coco_mask
from .collect import Entry, current_collective, gather_entries
from .files import write_json_rows
from .protocols import PostProcessor, PredFileEvaluator
from .rle import rle_encode

log = logging.getLogger(__name__)


class PredictionDumper:
    """A meter that writes ``coco_predictions_<iou_type>.json`` and has it evaluated.

    Rows are ``{image_id, category_id, bbox [x, y, w, h], score}``, for "segm" with a compressed
    ``segmentation`` whose bounding box is ``bbox``. The file does not depend on the number of
    processes.

    Args:
        dump_dir: folder of the files.
        postprocessor: gives the results of a batch by picture.
        maxdets: at most so many rows of a picture, the highest scores.
        iou_type: "bbox" or "segm".
        gather_pred_via_filesys: processes exchange rows through files in ``dump_dir``, which all
            of them see, instead of through messages.
        merge_predictions: one file of all processes; otherwise ``..._rank_<k>.json`` of each.
        pred_file_evaluators: evaluate the merged file.
    """

    def __init__(
        self,
        dump_dir: str | Path,
        postprocessor: PostProcessor,
        maxdets: int = 100,
        iou_type: str = "bbox",
        gather_pred_via_filesys: bool = False,
        merge_predictions: bool = False,
        pred_file_evaluators: Sequence[PredFileEvaluator] | None = None,
    ) -> None:
        if iou_type not in ("bbox", "segm"):
            raise InputError(f"iou_type must be 'bbox' or 'segm', got {iou_type!r}")
        if pred_file_evaluators and not merge_predictions:
            raise InputError("pred_file_evaluators need merge_predictions=True")
        self.dump_dir = Path(dump_dir)
        self.postprocessor = postprocessor
        self.maxdets = maxdets
        self.iou_type = iou_type
        self.gather_pred_via_filesys = gather_pred_via_filesys
        self.merge_predictions = merge_predictions
        self.pred_file_evaluators = list(pred_file_evaluators or ())
        self._entries: list[Entry] = []
        self._collective: Collective | None = None

    def update(
        self,
        *,
        find_stages: Any,
        find_metadatas: Sequence[BatchedInferenceMetadata],
        model: Any = None,
        batch: Any = None,
        key: str | None = None,
    ) -> None:
        """Take the outputs of one batch."""
        results = self.postprocessor.process_results(find_stages, find_metadatas)
        asked = _questions(
            find_metadatas, original=getattr(self.postprocessor, "use_original_ids", False)
        )
        for image_id, result in results.items():
            image_id = int(image_id)
            rows = _best(self._rows(image_id, result), self.maxdets)
            self._entries.append(Entry(image_id, asked[image_id], rows))

    def compute_synced(self) -> dict[str, float]:
        """Write the file, evaluate it in process 0, and return its metrics in every process."""
        collective = self._collective = self._collective or current_collective()
        if not self.merge_predictions:
            self._write(self._entries, f"_rank_{collective.rank}")
            collective.barrier()
            return {}
        folder = self.dump_dir if self.gather_pred_via_filesys else None
        entries = gather_entries(self._entries, collective, folder)
        return collective.broadcast(lambda: self._evaluate(entries or []))

    def reset(self) -> None:
        """Forget all predictions."""
        self._entries = []

    def _rows(self, image_id: int, result: Mapping[str, Any]) -> list[dict[str, Any]]:
        scores, labels = result["scores"].tolist(), result["labels"].tolist()
        if self.iou_type == "bbox":
            shapes = [{"bbox": box} for box in _xywh(result["boxes"])]
        else:
            shapes = [_segment(rle) for rle in _masks_rle(result)]
        return [
            {"image_id": image_id, "category_id": int(label), **shape, "score": round(score, 5)}
            for score, label, shape in zip(scores, labels, shapes, strict=True)
        ]

    def _evaluate(self, entries: Sequence[Entry]) -> dict[str, float]:
        path = self._write(entries, "")
        metrics: dict[str, float] = {}
        for evaluator in self.pred_file_evaluators:
            metrics.update(evaluator.evaluate(str(path)))
        return metrics

    def _write(self, entries: Sequence[Entry], suffix: str) -> Path:
        path = self.dump_dir / f"coco_predictions_{self.iou_type}{suffix}.json"
        by_image = groupby(sorted(entries, key=lambda e: e.source_id), key=lambda e: e.source_id)
        rows = (
            row
            for _, group in by_image
            for row in _best([row for entry in group for row in entry.rows], self.maxdets)
        )
        write_json_rows(path, rows)
        log.info("predictions written to %s", path)
        return path


def _questions(
    find_metadatas: Sequence[BatchedInferenceMetadata], original: bool
) -> dict[int, tuple[tuple[int, int], ...]]:
    """What was asked about each picture, by its original or its COCO id."""
    asked: dict[int, set[tuple[int, int]]] = {}
    for metadata in find_metadatas:
        coco_ids = metadata.coco_image_id.tolist()
        ids = metadata.original_image_id.tolist() if original else coco_ids
        categories = metadata.original_category_id.tolist()
        for image_id, coco_id, category in zip(ids, coco_ids, categories, strict=True):
            asked.setdefault(image_id, set()).add((coco_id, category))
    return {image_id: tuple(sorted(questions)) for image_id, questions in asked.items()}


def _best(rows: list[dict[str, Any]], number: int) -> list[dict[str, Any]]:
    """The ``number`` rows of the highest score, best first; all in their order if they are few."""
    if len(rows) <= number:
        return rows
    return sorted(rows, key=lambda row: -row["score"])[:number]


def _xywh(boxes: Tensor) -> list[list[float]]:
    """Boxes xyxy [n, 4] as rows of x, y, width, height with five decimals."""
    return [[round(v, 5) for v in box] for box in box_xyxy_to_xywh(boxes.double()).tolist()]


def _masks_rle(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    if "masks_rle" in result:
        return list(result["masks_rle"])
    if "masks" in result:
        return rle_encode(result["masks"])
    raise InputError("iou_type='segm' needs masks: give the post-processor iou_type='segm', too")


def _segment(rle: dict[str, Any]) -> dict[str, Any]:
    box = coco_mask().toBbox(rle)
    return {"segmentation": rle, "bbox": [round(float(value), 5) for value in box]}

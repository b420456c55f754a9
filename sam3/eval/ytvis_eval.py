"""Predictions of the video model in the format of YouTube-VIS."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..model.data_misc import BatchedInferenceMetadata
from ..perflib.distributed import Collective
from .coco_tools import as_rle, coco_mask
from .collect import Entry, current_collective, gather_entries
from .files import write_json_rows
from .protocols import PostProcessor, PredFileEvaluator
from .rle import to_json

log = logging.getLogger(__name__)


class YTVISResultsWriter:
    """A meter that writes one row per object of a video and phrase.

    Rows are ``{video_id, category_id, score, bboxes, segmentations, areas}``; the last three have
    an item for every frame: ``[x, y, w, h]`` in pixels, compressed run lengths and the number of
    pixels, or None where the object is not seen. The file does not depend on the number of
    processes.

    Args:
        dump_file: path of the file.
        postprocessor: gives results by video id: ``scores`` [N], ``labels`` [N], ``boxes``
            [N, T, 4] (x, y, w, h as parts of width and height) and ``masks_rle``, N lists of T run
            lengths or None.
        gather_pred_via_filesys: processes exchange rows through files next to ``dump_file``,
            which all of them see, instead of through messages.
        pred_file_evaluators: evaluate the file.
    """

    def __init__(
        self,
        dump_file: str | Path,
        postprocessor: PostProcessor,
        gather_pred_via_filesys: bool = False,
        pred_file_evaluators: Sequence[PredFileEvaluator] | None = None,
    ) -> None:
        self.dump_file = Path(dump_file)
        self.postprocessor = postprocessor
        self.gather_pred_via_filesys = gather_pred_via_filesys
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
        """Take the results of one batch."""
        results = self.postprocessor.process_results(find_stages, find_metadatas)
        for video_id, result in results.items():
            rows = video_rows(int(video_id), result)
            self._entries.append(Entry(int(video_id), ((int(video_id), 0),), rows))

    def compute_synced(self) -> dict[str, float]:
        """Write the file, evaluate it in process 0, and return its metrics in every process."""
        collective = self._collective = self._collective or current_collective()
        folder = self.dump_file.parent if self.gather_pred_via_filesys else None
        entries = gather_entries(self._entries, collective, folder)
        return collective.broadcast(lambda: self._evaluate(entries or []))

    def reset(self) -> None:
        """Forget all predictions."""
        self._entries = []

    def _evaluate(self, entries: Sequence[Entry]) -> dict[str, float]:
        write_json_rows(self.dump_file, (row for entry in entries for row in entry.rows))
        log.info("predictions written to %s", self.dump_file)
        metrics: dict[str, float] = {}
        for evaluator in self.pred_file_evaluators:
            metrics.update(evaluator.evaluate(str(self.dump_file)))
        return metrics


def video_rows(video_id: int, result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of all objects of one video; see :class:`YTVISResultsWriter`."""
    objects = zip(
        result["scores"], result["labels"], result["boxes"], result["masks_rle"], strict=True
    )
    return [
        {"video_id": video_id, "category_id": int(label), "score": float(score)}
        | _frames(boxes, masks)
        for score, label, boxes, masks in objects
    ]


def _frames(boxes: Any, masks: Sequence[Any]) -> dict[str, list[Any]]:
    frames: dict[str, list[Any]] = {"bboxes": [], "segmentations": [], "areas": []}
    for box, mask in zip(boxes, masks, strict=True):
        for name, value in zip(frames, _frame(box, mask), strict=True):
            frames[name].append(value)
    return frames


def _frame(box: Any, mask: Any) -> tuple[Any, Any, Any]:
    """Box in pixels, run lengths and area of one frame; three times None without a pixel."""
    if mask is None:
        return None, None, None
    rle = as_rle(mask)
    area = int(coco_mask().area(rle))
    if area == 0:
        return None, None, None
    height, width = rle["size"]
    pixels = [float(v) * side for v, side in zip(box, (width, height) * 2, strict=True)]
    return [round(v, 2) for v in pixels], to_json(rle), area

"""All metrics of SA-Co/VEval from a ground-truth file and a file of predictions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from ...errors import MissingDependencyError
from ..cgf1_metrics import PairCounts, concept_metrics
from .hota import phrase_hota
from .nms import frame_nms, track_nms
from .overlap import track_ious
from .pairs import Pair, load_pairs
from .track_ap import track_average_precision

log = logging.getLogger(__name__)

SCORE_THRESHOLD = 0.5


class VEvalEvaluator:
    """Metrics as ``video_<metric>``: track AP, cgF1 and its parts, HOTA and pHOTA.

    HOTA and pHOTA are left out, with a warning, where the package trackeval is not installed.

    Args:
        gt_path: VEval file.
        track_nms_threshold: IoU above which the lower-scored of two tracks is dropped first.
        frame_nms_threshold: the same for single frames, after that.
    """

    def __init__(
        self,
        gt_path: str | Path,
        track_nms_threshold: float | None = None,
        frame_nms_threshold: float | None = None,
    ) -> None:
        self.gt_path = Path(gt_path)
        self.track_nms_threshold = track_nms_threshold
        self.frame_nms_threshold = frame_nms_threshold

    def evaluate(self, pred_file: str | Path) -> dict[str, float]:
        """Metrics of a file that ``YTVISResultsWriter`` wrote."""
        pairs = [self._suppress(pair) for pair in load_pairs(self.gt_path, pred_file)]
        metrics = track_average_precision(pairs) | video_concept_metrics(pairs)
        try:
            metrics |= phrase_hota(pairs)
        except MissingDependencyError as error:
            log.warning("%s; the other metrics are complete", error)
        return {f"video_{name}": value for name, value in metrics.items()}

    def _suppress(self, pair: Pair) -> Pair:
        if self.track_nms_threshold is not None:
            pair = track_nms(pair, self.track_nms_threshold)
        if self.frame_nms_threshold is not None:
            pair = frame_nms(pair, self.frame_nms_threshold)
        return pair


def video_concept_metrics(pairs: Sequence[Pair]) -> dict[str, float]:
    """cgF1 and its parts with the IoU of whole tracks; scores below 0.5 do not count."""
    kept = [pair.above(SCORE_THRESHOLD) for pair in pairs]
    return concept_metrics(
        [PairCounts.from_ious(track_ious(p.found, p.truths, p.num_frames)) for p in kept]
    )

"""Average precision of tracks, as YouTube-VIS defines it: COCO's, with the IoU of whole tracks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..coco_tools import coco_classes, coco_mask, make_coco, quietly
from .overlap import track_ious
from .pairs import Pair, Track

_STATS = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR1", "AR10", "AR100")
_AREA_RANGES = [[0, 1e10], [0, 128**2], [128**2, 256**2], [256**2, 1e10]]


def track_average_precision(pairs: Sequence[Pair]) -> dict[str, float]:
    """AP and AR over all pairs, averaged over phrases; -1 where there are no such objects."""
    videos = [{"id": video} for video in sorted({pair.video_id for pair in pairs})]
    categories = [{"id": c, "name": str(c)} for c in sorted({pair.category_id for pair in pairs})]
    truths = [_item(pair, track) for pair in pairs for track in pair.truths]
    found = [_item(pair, track) for pair in pairs for track in pair.found]
    ious = {
        (pair.video_id, pair.category_id): track_ious(pair.found, pair.truths, pair.num_frames)
        for pair in pairs
    }
    evaluation = coco_classes()[1](
        make_coco(videos, categories, truths), make_coco(videos, categories, found), "bbox"
    )
    evaluation.params.areaRng = _AREA_RANGES
    evaluation.computeIoU = _by_score(ious, pairs)
    with quietly():
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(_STATS, (float(v) for v in evaluation.stats[:9]), strict=True))


def _item(pair: Pair, track: Track) -> dict[str, Any]:
    """A track as an annotation; its area is the mean over the frames in which it is seen."""
    seen = [int(coco_mask().area(mask)) for mask in track.masks if mask is not None]
    return {
        "image_id": pair.video_id,
        "category_id": pair.category_id,
        "score": track.score,
        "area": float(np.mean(seen)) if seen else 0.0,
    }


def _by_score(ious: dict[tuple[int, int], np.ndarray], pairs: Sequence[Pair]) -> Any:
    """COCOeval's ``computeIoU``: rows by descending score, at most the 100 best."""
    scores = {
        (pair.video_id, pair.category_id): np.array([track.score for track in pair.found])
        for pair in pairs
    }

    def compute(video_id: int, category_id: int) -> Any:
        key = (video_id, category_id)
        if key not in ious or not ious[key].size:
            return []
        return ious[key][np.argsort(-scores[key], kind="mergesort")[:100]]

    return compute

"""HOTA and pHOTA of (video, phrase) pairs, by the package trackeval.

pHOTA takes each pair as a sequence of its own and all phrases as one class; HOTA averages over
phrases, as over classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import MissingDependencyError
from .overlap import frame_ious
from .pairs import Pair, Track

SCORE_THRESHOLD = 0.5
_FIELDS = ("HOTA", "DetA", "AssA", "DetRe", "DetPr", "AssRe", "AssPr", "LocA")


def phrase_hota(pairs: Sequence[Pair]) -> dict[str, float]:
    """HOTA and pHOTA with their parts, averaged over localisation thresholds.

    Predictions below a score of 0.5 do not count. Values are in [0, 1]; the parts of pHOTA have a
    "p" before their names. HOTA leaves out phrases without any object, true or found.

    Raises:
        MissingDependencyError: trackeval is not installed.
    """
    hota = _hota()
    by_phrase: dict[str, dict[str, Any]] = {}
    for pair in pairs:
        result = hota.eval_sequence(sequence(pair.above(SCORE_THRESHOLD)))
        by_phrase.setdefault(str(pair.category_id), {})[str(pair.video_id)] = result
    if not by_phrase:
        return {}
    every = {f"{v}/{c}": r for c, videos in by_phrase.items() for v, r in videos.items()}
    combined = hota.combine_sequences(every)
    phrases = {c: hota.combine_sequences(videos) for c, videos in by_phrase.items()}
    asked = {
        c: r for c, r in phrases.items() if r["HOTA_TP"][0] + r["HOTA_FN"][0] + r["HOTA_FP"][0]
    }
    averaged = hota.combine_classes_class_averaged(asked or phrases)
    return {
        prefix + name: float(np.mean(result[name]))
        for prefix, result in (("p", combined), ("", averaged))
        for name in _FIELDS
    }


def _hota() -> Any:
    try:
        from trackeval.metrics import HOTA
    except ImportError as error:
        raise MissingDependencyError(
            f"pHOTA needs the package trackeval ({error}): pip install trackeval"
        ) from error
    return HOTA()


def sequence(pair: Pair) -> dict[str, Any]:
    """A pair as trackeval's metrics read it: ids and similarities frame by frame."""
    truths, found = _seen(pair.truths), _seen(pair.found)
    data: dict[str, Any] = {"gt_ids": [], "tracker_ids": [], "similarity_scores": []}
    for frame in range(pair.num_frames):
        rows, columns = _present(truths, frame), _present(found, frame)
        data["gt_ids"].append(rows)
        data["tracker_ids"].append(columns)
        data["similarity_scores"].append(
            frame_ious([truths[i] for i in rows], [found[i] for i in columns], frame)
        )
    data["num_gt_ids"], data["num_tracker_ids"] = len(truths), len(found)
    data["num_gt_dets"] = sum(len(ids) for ids in data["gt_ids"])
    data["num_tracker_dets"] = sum(len(ids) for ids in data["tracker_ids"])
    data["num_timesteps"] = pair.num_frames
    return data


def _seen(tracks: Sequence[Track]) -> list[Track]:
    return [track for track in tracks if any(mask is not None for mask in track.masks)]


def _present(tracks: Sequence[Track], frame: int) -> np.ndarray:
    return np.array(
        [i for i, track in enumerate(tracks) if track.masks[frame] is not None], dtype=int
    )

"""pHOTA: HOTA of the package trackeval, with each (video, phrase) pair as a sequence of its own."""

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
    """HOTA and its parts over all pairs, as one class, averaged over localisation thresholds.

    Predictions below a score of 0.5 do not count. Names begin with "p", values are in [0, 1].

    Raises:
        MissingDependencyError: trackeval is not installed.
    """
    hota = _hota()
    sequences = {
        f"{pair.video_id}/{pair.category_id}": hota.eval_sequence(
            sequence(pair.above(SCORE_THRESHOLD))
        )
        for pair in pairs
    }
    if not sequences:
        return {}
    combined = hota.combine_sequences(sequences)
    return {f"p{name}": float(np.mean(combined[name])) for name in _FIELDS}


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

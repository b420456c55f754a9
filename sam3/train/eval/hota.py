"""HOTA and its two factors, from the formulas of Luiten et al. 2021.

HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking (https://arxiv.org/abs/2009.07736).
A small implementation of our own, for masks; every (clip, phrase) pair is a sequence, and counts
are pooled over all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .matching_records import match_optimally
from .track_records import TrackRecord

ALPHAS: tuple[float, ...] = tuple(float(a) for a in np.linspace(0.05, 0.95, 19))
_EPSILON = 1e-4  # orders the aims of the matching: number of pairs, association, IoU


def hota(records: Sequence[TrackRecord]) -> dict[str, float]:
    """HOTA, DetA and AssA at IoU 0.5 and averaged over 0.05:0.05:0.95; NaN without an object.

    Per threshold alpha, with c over all matched pairs: DetA = TP / (TP + FN + FP), AssA = mean of
    TPA(c) / (TPA(c) + FNA(c) + FPA(c)), HOTA = sqrt(DetA * AssA).
    """
    values = np.array([_at(records, alpha) for alpha in ALPHAS])
    half = values[ALPHAS.index(min(ALPHAS, key=lambda a: abs(a - 0.5)))]
    mean = values.mean(axis=0)
    names = ("HOTA", "DetA", "AssA")
    return {
        **{name: float(v) for name, v in zip(names, mean, strict=True)},
        **{f"{name}@0.5": float(v) for name, v in zip(names, half, strict=True)},
    }


def _at(records: Sequence[TrackRecord], alpha: float) -> tuple[float, float, float]:
    """(HOTA, DetA, AssA) at one threshold."""
    pairs, objects, tracks, association = 0, 0, 0, 0.0
    for record in records:
        counts = pair_counts(record, alpha)
        matched = counts.sum()
        pairs += int(matched)
        objects += int(record.visible.sum())
        tracks += int(record.predicted.sum())
        association += float((counts * _jaccard(counts, record)).sum())
    if not objects:
        return float("nan"), float("nan"), float("nan")
    detection = pairs / (objects + tracks - pairs)
    association = association / pairs if pairs else 0.0
    return float(np.sqrt(detection * association)), detection, association


def pair_counts(record: TrackRecord, alpha: float) -> np.ndarray:
    """How often each track is matched to each object at an IoU of ``alpha``: [P, G] int64.

    Every frame is matched on its own so that first the number of pairs, then the greatest possible
    association of their tracks, then their IoU is largest.
    """
    possible = (record.ious >= alpha) & (record.ious > 0)
    best = _jaccard(possible.sum(axis=0), record)
    counts = np.zeros(best.shape, dtype=np.int64)
    for allowed, ious in zip(possible, record.ious, strict=True):
        worth = np.where(allowed, 1 / _EPSILON + best + _EPSILON * ious, 0.0)
        rows, columns = match_optimally(worth)
        hit = allowed[rows, columns]
        counts[rows[hit], columns[hit]] += 1
    return counts


def _jaccard(together: np.ndarray, record: TrackRecord) -> np.ndarray:
    """Frames two are together over frames that either is there: [P, G]."""
    either = record.predicted.sum(0)[:, None] + record.visible.sum(0)[None] - together
    return together / np.maximum(either, 1)

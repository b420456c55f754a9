"""Non-maximum suppression of predicted tracks: whole tracks, or single frames of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...perflib.nms import suppress_in_order
from .overlap import frame_ious, track_ious
from .pairs import Pair, Track


def track_nms(pair: Pair, iou_threshold: float) -> Pair:
    """Drop a predicted track whose IoU with a kept one of a higher score exceeds the threshold."""
    tracks = by_score(pair.found)
    ious = track_ious(tracks, tracks, pair.num_frames)
    keep = suppress_in_order(ious.astype(np.float32), iou_threshold)
    return replace(pair, found=tuple(t for t, kept in zip(tracks, keep, strict=True) if kept))


def frame_nms(pair: Pair, iou_threshold: float) -> Pair:
    """In each frame, drop the mask of a track that overlaps a kept one of a higher score so much.

    Tracks that lose their last mask are dropped.
    """
    tracks = by_score(pair.found)
    masks = [list(track.masks) for track in tracks]
    for frame in range(pair.num_frames):
        ious = frame_ious(tracks, tracks, frame)
        keep = suppress_in_order(ious.astype(np.float32), iou_threshold)
        for own, kept in zip(masks, keep, strict=True):
            own[frame] = own[frame] if kept else None
    left = (replace(track, masks=own) for track, own in zip(tracks, masks, strict=True))
    return replace(pair, found=tuple(t for t in left if any(m is not None for m in t.masks)))


def by_score(tracks: Sequence[Track]) -> list[Track]:
    """Tracks by descending score; equal ones keep their order."""
    return sorted(tracks, key=lambda track: -track.score)

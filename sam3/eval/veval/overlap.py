"""Overlap of tracks: intersections in single frames, and IoU over whole videos."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..coco_tools import coco_mask, mask_ious
from .pairs import Track


def areas(tracks: Sequence[Track], frame: int) -> np.ndarray:
    """Pixels of every track in one frame, 0 where it is not seen: [N] float64."""
    masks = [track.masks[frame] for track in tracks]
    return np.array([0 if m is None else int(coco_mask().area(m)) for m in masks], dtype=float)


def frame_ious(first: Sequence[Track], second: Sequence[Track], frame: int) -> np.ndarray:
    """Mask IoU of every pair of tracks in one frame, 0 where one is not seen: [P, G] float64."""
    result = np.zeros((len(first), len(second)))
    rows = [i for i, track in enumerate(first) if track.masks[frame] is not None]
    columns = [i for i, track in enumerate(second) if track.masks[frame] is not None]
    result[np.ix_(rows, columns)] = mask_ious(
        [first[i].masks[frame] for i in rows], [second[i].masks[frame] for i in columns]
    )
    return result


def track_ious(first: Sequence[Track], second: Sequence[Track], num_frames: int) -> np.ndarray:
    """IoU of tracks as volumes: shared pixels of all frames by covered ones, [P, G] float64."""
    inter = np.zeros((len(first), len(second)))
    total = np.zeros_like(inter)
    if not inter.size:
        return inter
    for frame in range(num_frames):
        both = areas(first, frame)[:, None] + areas(second, frame)[None]
        iou = frame_ious(first, second, frame)
        inter += np.rint(both * iou / (1 + iou))  # the count that gave this IoU
        total += both
    return inter / np.maximum(total - inter, 1)

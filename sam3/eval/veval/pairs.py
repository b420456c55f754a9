"""(video, phrase) pairs with their true and their predicted tracks, from files in YT-VIS style."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..coco_tools import as_rle
from ..files import read_json

Masks = Sequence[Mapping[str, Any] | None]
"""Compressed run lengths of each frame, or None where the object is not seen."""


@dataclass(frozen=True)
class Track:
    """One object of a video: its masks frame by frame; score 1 for true ones."""

    masks: Masks
    score: float = 1.0


@dataclass(frozen=True)
class Pair:
    """A phrase asked of a video, what there is and what was found."""

    video_id: int
    category_id: int
    num_frames: int
    truths: tuple[Track, ...]
    found: tuple[Track, ...]

    def above(self, score_threshold: float) -> Pair:
        """The pair with only the predictions that score at least so much."""
        kept = tuple(track for track in self.found if track.score >= score_threshold)
        return Pair(self.video_id, self.category_id, self.num_frames, self.truths, kept)


def load_pairs(gt_path: str | Path, pred_path: str | Path) -> list[Pair]:
    """All pairs of the ground truth; predictions for other pairs are left out.

    Args:
        gt_path: VEval file with ``videos``, ``annotations`` and ``video_np_pairs``.
        pred_path: rows as ``YTVISResultsWriter`` writes them.

    Raises:
        InputError: a file is missing or broken, or a track has another number of frames than
            its video.
    """
    truth = read_json(gt_path)
    videos = {video["id"]: video for video in truth["videos"]}
    truths = _by_pair(truth["annotations"])
    found = _by_pair(read_json(pred_path))
    pairs = []
    for named in truth["video_np_pairs"]:
        key = (named["video_id"], named["category_id"])
        video = videos[key[0]]
        frames, size = len(video["file_names"]), (video["height"], video["width"])
        pairs.append(
            Pair(
                *key,
                frames,
                tuple(_track(row, frames, size, gt_path) for row in truths.get(key, ())),
                tuple(_track(row, frames, size, pred_path) for row in found.get(key, ())),
            )
        )
    return pairs


def _by_pair(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[int, int], list[Mapping[str, Any]]]:
    grouped: dict[tuple[int, int], list[Mapping[str, Any]]] = {}
    for row in rows:
        grouped.setdefault((row["video_id"], row["category_id"]), []).append(row)
    return grouped


def _track(row: Mapping[str, Any], frames: int, size: tuple[int, int], path: str | Path) -> Track:
    masks = row["segmentations"]
    if len(masks) != frames:
        raise InputError(
            f"{path}: a track of video {row['video_id']} has {len(masks)} frames, "
            f"the video has {frames}"
        )
    codes = [as_rle(mask, size) if mask else None for mask in masks]
    odd = next((c["size"] for c in codes if c is not None and tuple(c["size"]) != size), None)
    if odd is not None:
        raise InputError(
            f"{path}: a mask of video {row['video_id']} is {odd[0]} x {odd[1]} pixels, "
            f"the video is {size[0]} x {size[1]}"
        )
    return Track(codes, float(row.get("score", 1.0)))

"""Evaluation of a whole video: every phrase from its first frame to its last, results as RLE."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import InputError
from ...perflib.rle import encode_rle
from ..data_misc import BatchedDatapoint

Step = tuple[int, "dict[str, Any] | None"]
RunPhrase = Callable[[str], Iterator[Step]]
"""Runs one phrase over the video: (frame index, public outputs) of every frame."""


@dataclass
class Tracklet:
    """One object over the frames: score at creation, and per frame what is known of it."""

    score: float
    label: int
    boxes: dict[int, np.ndarray] = field(default_factory=dict)
    masks: dict[int, dict[str, Any]] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)


def evaluate_video(
    batch: BatchedDatapoint, run_phrase: RunPhrase, frame_scores: Callable[[int], dict[int, float]]
) -> dict[int, dict[str, Any]]:
    """Results of all phrases of a batch that holds one video.

    The phrases, labels (``original_category_id``) and the video's id (``original_image_id``) are
    those of the first frame's find stage and metadata. frame_scores: the tracker's scores of a
    frame, for the phrase run last.

    Returns {video id: {``scores`` float32 [N], ``labels`` int64 [N], ``boxes`` float32 [N, T, 4]
    (xywh as parts of width and height, 0 where absent), ``masks_rle``: N lists of T uncompressed
    RLE dicts or None, ``per_frame_scores`` float32 [N, T]}}. Object ids of a phrase follow those of
    the phrase before, so N counts all phrases.

    Raises InputError for a batch without frames, phrases or metadata.
    """
    if not batch.find_inputs or not batch.find_metadatas:
        raise InputError("evaluation needs a find stage and metadata per frame")
    stage, metadata = batch.find_inputs[0], batch.find_metadatas[0]
    tracks: dict[int, Tracklet] = {}
    for query, text_id in enumerate(stage.text_ids.tolist()):
        offset = max(tracks, default=-1) + 1
        label = int(metadata.original_category_id[query])
        for frame, outputs in run_phrase(batch.find_text_batch[text_id]):
            if outputs is not None:
                _add(tracks, offset, label, frame, outputs, frame_scores(frame))
    video_id = int(metadata.original_image_id[0])
    return {video_id: _as_arrays([tracks[i] for i in sorted(tracks)], len(batch.img_batch))}


def _add(
    tracks: dict[int, Tracklet],
    offset: int,
    label: int,
    frame: int,
    outputs: dict[str, Any],
    scores: dict[int, float],
) -> None:
    for row, obj_id in enumerate(outputs["out_obj_ids"].tolist()):
        track = tracks.setdefault(
            offset + obj_id, Tracklet(float(outputs["out_probs"][row]), label)
        )
        track.boxes[frame] = outputs["out_boxes_xywh"][row]
        track.masks[frame] = encode_rle(outputs["out_binary_masks"][row])
        track.scores[frame] = scores.get(obj_id, 0.0)


def _as_arrays(tracks: list[Tracklet], num_frames: int) -> dict[str, Any]:
    boxes = np.zeros((len(tracks), num_frames, 4), np.float32)
    per_frame = np.zeros((len(tracks), num_frames), np.float32)
    for row, track in enumerate(tracks):
        for frame, box in track.boxes.items():
            boxes[row, frame] = box
            per_frame[row, frame] = track.scores[frame]
    return {
        "scores": np.array([t.score for t in tracks], np.float32),
        "labels": np.array([t.label for t in tracks], np.int64),
        "boxes": boxes,
        "masks_rle": [[t.masks.get(f) for f in range(num_frames)] for t in tracks],
        "per_frame_scores": per_frame,
    }

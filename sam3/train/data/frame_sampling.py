"""Which frames and phrases of a video make a training sample."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import DataError, InputError
from .datapoint_builder import Row, Rows


@dataclass(frozen=True)
class FrameSampling:
    """How frames are drawn.

    stages: frames of a sample; stride_min, stride_max: frames from one to the next; reverse: run
    backwards in time in half of the samples.
    """

    stages: int
    stride_min: int
    stride_max: int
    reverse: bool

    def __post_init__(self) -> None:
        if self.stages < 1 or not 1 <= self.stride_min <= self.stride_max:
            raise InputError(
                "a sample needs at least one frame and strides 1 <= min <= max, got "
                f"{self.stages} frames, strides {self.stride_min} to {self.stride_max}"
            )

    def draw(self, count: int, rng: random.Random) -> list[int]:
        """Frames of a video of ``count`` frames; a short video lowers the stride.

        Raises DataError for a video with fewer frames than stages.
        """
        if count < self.stages:
            raise DataError(f"its video has {count} frames, a sample needs {self.stages}")
        stride = rng.randint(self.stride_min, self.stride_max)
        if self.stages > 1:
            stride = min(stride, (count - 1) // (self.stages - 1))
        length = (self.stages - 1) * stride + 1
        start = rng.randint(0, count - length)
        frames = list(range(start, start + length, stride))
        return frames[::-1] if self.reverse and rng.random() < 0.5 else frames


def take_frames(rows: Rows, frames: Sequence[int], places: Sequence[int] | None = None) -> Rows:
    """Rows of a sample whose stage s shows frame ``frames[s]``; a frame may come several times.

    Args:
        rows: of the whole video; image k is frame k.
        frames: indices into the images.
        places: which of each frame's queries to keep, None = all.

    Returns:
        New rows, with ``frame_index`` in those of the images.
    """
    queries_of: dict[int, list[Row]] = defaultdict(list)
    annotations_of: dict[int, list[int]] = defaultdict(list)
    for query in rows.queries:
        queries_of[query["image_id"]].append(query)
    for number, annotation in enumerate(rows.annotations):
        annotations_of[annotation["image_id"]].append(number)
    images = [{**rows.images[frame], "frame_index": frame} for frame in frames]
    queries: list[Row] = []
    annotations: list[Row] = []
    for stage, frame in enumerate(frames):
        first = len(annotations)
        new = {old: first + k for k, old in enumerate(annotations_of[frame])}
        annotations += [
            {**rows.annotations[old], "image_id": stage, "id": index} for old, index in new.items()
        ]
        asked = queries_of[frame]
        for query in asked if places is None else [asked[p] for p in places]:
            queries.append(
                {
                    **query,
                    "id": len(queries),
                    "image_id": stage,
                    "query_processing_order": stage,
                    "object_ids_output": [new[i] for i in query["object_ids_output"]],
                }
            )
    return Rows(images, queries, annotations)

"""Videos with queries as a PyTorch data set: each stage of a sample is one frame."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

from ...errors import DataError
from .datapoint_builder import Rows
from .frame_sampling import FrameSampling, take_frames
from .sam3_image_dataset import Sam3ImageDataset

# Epoch e draws frames and phrases with this plus e.
_SEED = 42


class VideoGroundingDataset(Sam3ImageDataset):
    """Datapoints whose stage s asks about frame s.

    Training samples a few frames; evaluation takes them all, in order. Frames and phrases drawn
    depend on the epoch and the sample only.

    Args:
        num_stages_sample: frames of a training sample.
        stage_stride_min, stage_stride_max: frames from one to the next, drawn once per sample; a
            short video lowers the stride.
        random_reverse_time_axis: half of the training samples run backwards.
        is_tiling_single_image: a sample repeats its first picture ``num_stages_sample`` times, to
            train on pictures as on videos.
        max_query_num: phrases of a training sample, the rest is left out at random; -1 = all.
        override_query_is_exhaustive_to_true: treat every answer as complete.
        max_masklet_num_in_video: training skips videos with more objects.
        image_options: all that :class:`Sam3ImageDataset` takes.
    """

    def __init__(
        self,
        num_stages_sample: int = 4,
        stage_stride_min: int = 1,
        stage_stride_max: int = 5,
        random_reverse_time_axis: bool = True,
        is_tiling_single_image: bool = False,
        max_query_num: int = -1,
        override_query_is_exhaustive_to_true: bool = False,
        max_masklet_num_in_video: int = 300,
        **image_options: Any,
    ) -> None:
        """Raises InputError for impossible strides, else as :class:`Sam3ImageDataset`."""
        super().__init__(**image_options)
        self.sampling = FrameSampling(
            num_stages_sample, stage_stride_min, stage_stride_max, random_reverse_time_axis
        )
        self.is_tiling_single_image = is_tiling_single_image
        self.max_query_num = max_query_num
        self.override_exhaustive = override_query_is_exhaustive_to_true
        self.max_masklets = max_masklet_num_in_video

    def _rows(self, position: int) -> Rows:
        rows = self._loaded(self.ids[position])
        rng = random.Random(f"{_SEED + self.epoch} {position}")
        places = None
        if self.training:
            self._check_masklets(rows)
            places = self._draw_phrases(rows, rng)
        taken = take_frames(rows, self._draw_frames(rows, rng), places)
        if not self.override_exhaustive:
            return taken
        return replace(taken, queries=[{**q, "is_exhaustive": True} for q in taken.queries])

    def _check_masklets(self, rows: Rows) -> None:
        masklets = len({row["object_id"] for row in rows.annotations})
        if masklets > self.max_masklets:
            raise DataError(f"its video has {masklets} objects, allowed are {self.max_masklets}")

    def _draw_phrases(self, rows: Rows, rng: random.Random) -> list[int] | None:
        """Places of the queries to keep in each frame, in order; None = all."""
        phrases = max(Counter(q["image_id"] for q in rows.queries).values(), default=0)
        if not 0 < self.max_query_num < phrases:
            return None
        return sorted(rng.sample(range(phrases), self.max_query_num))

    def _draw_frames(self, rows: Rows, rng: random.Random) -> list[int]:
        if self.is_tiling_single_image:
            return [0] * self.sampling.stages
        if self.training:
            return self.sampling.draw(len(rows.images), rng)
        return list(range(len(rows.images)))

"""Pictures with queries as a PyTorch data set; also the front door of the datapoint classes."""

from __future__ import annotations

import logging
import os
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch.utils.data

from ...errors import DataError, InputError
from .annotation_files import Source
from .coco_json_loaders import COCO_FROM_JSON
from .datapoint import (
    Datapoint,
    FindQuery,
    FindQueryLoaded,
    Image,
    InferenceMetadata,
    Object,
)
from .datapoint_builder import DatapointBuilder, Rows

__all__ = [
    "Datapoint",
    "FindQuery",
    "FindQueryLoaded",
    "Image",
    "InferenceMetadata",
    "Object",
    "Sam3ImageDataset",
]

logger = logging.getLogger(__name__)

# Samples tried in place of one that cannot be used.
MAX_TRIES = 100


class Sam3ImageDataset(torch.utils.data.Dataset[Datapoint]):
    """Datapoints of an annotation file, transformed.

    A sample that cannot be used (no query or too many, too many objects, an error on loading or in
    a transform) is replaced by the next one that can, with a warning that names it.

    Args:
        img_folder: folder of the pictures.
        ann_file: annotation file, or what it holds.
        transforms: called one after the other as ``t(datapoint, epoch=...)``.
        max_ann_per_img: objects a sample may have.
        multiplier: how often each sample counts in one epoch.
        training: hide the pictures' ids, and use ``max_train_queries``.
        load_segmentation: give objects their masks.
        max_train_queries, max_val_queries: queries a sample may have.
        fix_fname: use file names without their folders.
        coco_json_loader: makes a loader of ``ann_file``; see coco_json_loaders.py.
        limit_ids: use only so many samples, drawn always the same way.
        use_caching: keep the rows of samples, which saves converting their masks again.
    """

    def __init__(
        self,
        img_folder: str | os.PathLike[str],
        ann_file: Source,
        transforms: Sequence[Callable[..., Datapoint]],
        max_ann_per_img: int,
        multiplier: int,
        training: bool,
        load_segmentation: bool = False,
        max_train_queries: int = 81,
        max_val_queries: int = 300,
        fix_fname: bool = False,
        coco_json_loader: Callable[[Source], Any] = COCO_FROM_JSON,
        limit_ids: int | None = None,
        use_caching: bool = False,
    ) -> None:
        """Raises DataError for a file that cannot be used or holds no sample."""
        self.loader = coco_json_loader(ann_file)
        self.ids = _limited(self.loader.getDatapointIds(), limit_ids) * int(multiplier)
        if not self.ids:
            name = ann_file if isinstance(ann_file, (str, os.PathLike)) else "the annotations"
            raise DataError(
                f"no sample in {name} with limit_ids = {limit_ids} and multiplier = {multiplier}"
            )
        self.transforms = list(transforms)
        self.max_objects = max_ann_per_img
        self.max_queries = max_train_queries if training else max_val_queries
        self.training = training
        self.builder = DatapointBuilder(Path(img_folder), load_segmentation, training, fix_fname)
        self.epoch = 0
        self._cache: dict[int, Rows] | None = {} if use_caching else None

    def __len__(self) -> int:
        """Samples in one epoch."""
        return len(self.ids)

    def set_epoch(self, epoch: int) -> None:
        """Tell transforms (and the sampling of frames) the epoch."""
        self.epoch = epoch

    def image_ids(self, index: int) -> list[int]:
        """Ids, in the annotation file, of the pictures of sample ``index``."""
        images = self.loader.loadImagesFromDatapoint(self.ids[index])
        return [int(image["coco_img_id"]) for image in images]

    def __getitem__(self, index: int) -> Datapoint:
        """Sample ``index``, or the next usable one.

        Raises DataError if ``MAX_TRIES`` in a row cannot be used; the message names the last cause.
        """
        cause: Exception | None = None
        for attempt in range(min(MAX_TRIES, len(self))):
            position = (index + attempt) % len(self)
            try:
                return self._sample(position)
            except (InputError, OSError, ValueError, KeyError) as error:
                cause = error
                logger.warning(
                    "sample %d (datapoint %d) is replaced by the next one: %s",
                    position,
                    self.ids[position],
                    f"no key {error}" if isinstance(error, KeyError) else error,
                )
        raise DataError(
            f"sample {index} and those after it cannot be used, the last one because: {cause}; "
            "check the data set with sam3.train.data.checks"
        ) from cause

    def _sample(self, position: int) -> Datapoint:
        rows = self._rows(position)
        self._check_amount(len(rows.queries), len(rows.annotations))
        datapoint = self.builder.build(rows)
        for transform in self.transforms:
            datapoint = transform(datapoint, epoch=self.epoch)
        self._check_amount(
            len(datapoint.find_queries), sum(len(image.objects) for image in datapoint.images)
        )
        _check_stages(datapoint)
        return datapoint

    def _rows(self, position: int) -> Rows:
        """Rows of the sample at ``position``; video data sets choose frames here."""
        return self._loaded(self.ids[position])

    def _loaded(self, identifier: int) -> Rows:
        """Rows of a datapoint as the loader gives them. They are not to be changed."""
        if self._cache is not None and identifier in self._cache:
            return self._cache[identifier]
        queries, annotations = self.loader.loadQueriesAndAnnotationsFromDatapoint(identifier)
        rows = Rows(self.loader.loadImagesFromDatapoint(identifier), queries, annotations)
        if self._cache is not None:
            self._cache[identifier] = rows
        return rows

    def _check_amount(self, queries: int, objects: int) -> None:
        if not 1 <= queries <= self.max_queries:
            raise DataError(f"it has {queries} queries, allowed are 1 to {self.max_queries}")
        if objects > self.max_objects:
            raise DataError(f"it has {objects} objects, allowed are {self.max_objects}")


def _limited(ids: list[int], limit: int | None) -> list[int]:
    """The first ``limit`` ids of a shuffle that depends on their number only, or all in order."""
    if limit is None:
        return list(ids)
    shuffled = sorted(ids)
    random.Random(len(shuffled)).shuffle(shuffled)
    return shuffled[:limit]


def _check_stages(datapoint: Datapoint) -> None:
    counts = Counter(query.query_processing_order for query in datapoint.find_queries)
    if len(set(counts.values())) > 1:
        raise DataError(
            f"its stages have different numbers of queries: {dict(sorted(counts.items()))}"
        )

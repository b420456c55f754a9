"""Reads pre-rendered scenes and turns them into training batches.

A batch is a pure function of (folder, seed, step), so a resumed run sees the data it would have
seen. Phrases, boxes to point with, flips and light changes are drawn anew at every step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ....errors import InputError
from ....model.data_misc import BatchedDatapoint
from .assemble import Question, assemble
from .augment import orient, random_orientation, tone_curve
from .phrases import Query, noisy_box, sample_negative, sample_positive
from .prerender import MANIFEST
from .shards import open_shards, read_manifest

_COMMAND = "sam3.train.data.scenes.prerender"


@dataclass(frozen=True)
class StoredScene:
    """One row of a folder.

    image [R, R, 3] and labels [R, R] uint8; attributes [n, 3] int8; boxes [n, 4] float32
    normalised cxcywh; level 0 or 1.
    """

    image: np.ndarray
    labels: np.ndarray
    attributes: np.ndarray
    boxes: np.ndarray
    level: int


@dataclass(frozen=True)
class DrawnBatch:
    """What a batch is packed from, lists of one entry per picture but for the questions.

    images: uint8 [R, R, 3] and tone curve [256, 3] or None; label_maps: uint8 [R, R], 0 =
    background, k = object k - 1; attributes: int8 [n, 3] (colour, shape, pattern) per picture.
    """

    images: list[tuple[np.ndarray, np.ndarray | None]]
    label_maps: list[np.ndarray]
    attributes: list[np.ndarray]
    questions: list[Question]


class SceneFolder:
    """Memory-mapped access to the shards that ``prerender`` wrote."""

    def __init__(self, folder: Path | str, first_scenes: int | None = None) -> None:
        """``first_scenes`` uses only that many, so that the shards behind them may be missing.

        Raises InputError if the folder is no scene folder or needed shards are missing.
        """
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder, MANIFEST, _COMMAND)
        self.resolution = int(self.manifest["resolution"])
        self.shard_size = int(self.manifest["shard_size"])
        available = int(self.manifest["scenes"])
        count = available if first_scenes is None else first_scenes
        if not 1 <= count <= available:
            raise InputError(f"first_scenes must be 1 to {available}, got {first_scenes}")
        paths = open_shards(self.folder, -(-count // self.shard_size), _COMMAND)
        self._big = [
            {n: np.load(p / f"{n}.npy", mmap_mode="r") for n in ("images", "labels")} for p in paths
        ]
        self.attributes, self.boxes, self.levels = (
            np.concatenate([np.load(p / f"{name}.npy") for p in paths])[:count]
            for name in ("attributes", "boxes", "levels")
        )
        self.counts = (self.attributes[..., 0] >= 0).sum(1)

    def __len__(self) -> int:
        return len(self.levels)

    def __getitem__(self, index: int) -> StoredScene:
        shard, row = divmod(int(index), self.shard_size)
        count = self.counts[index]
        return StoredScene(
            self._big[shard]["images"][row],
            self._big[shard]["labels"][row],
            self.attributes[index, :count],
            self.boxes[index, :count],
            int(self.levels[index]),
        )


class SceneBatches:
    """Batches of scenes and questions: ``batches.batch(step)`` or iterate from ``start_step``.

    folder: made by ``prerender``; batch_images: pictures per batch; phrases_per_image: questions
    per picture, the first half (rounded down, the odd one by chance) positive; seed: of the draw;
    resolution: must be the folder's (None = take it); mask_size: side of the target masks;
    simple_steps: steps at the start that use only level 0 scenes and phrases; first_scenes: use
    only so many of the folder.
    """

    def __init__(
        self,
        folder: Path | str,
        batch_images: int,
        phrases_per_image: int,
        seed: int,
        resolution: int | None = None,
        mask_size: int = 64,
        *,
        simple_steps: int = 0,
        start_step: int = 0,
        augment: bool = True,
        box_probability: float = 0.25,
        first_scenes: int | None = None,
    ) -> None:
        self.scenes = SceneFolder(folder, first_scenes)
        if resolution is not None and resolution != self.scenes.resolution:
            raise InputError(
                f"the scenes in {folder} are {self.scenes.resolution} px, "
                f"the model wants {resolution}; "
                f"draw them with --resolution {resolution}"
            )
        if batch_images < 1 or phrases_per_image < 1:
            raise InputError("batch_images and phrases_per_image must be at least 1")
        self.batch_images, self.phrases_per_image = batch_images, phrases_per_image
        self.seed, self.mask_size = seed, mask_size
        self.simple_steps, self.start_step = simple_steps, start_step
        self.augment, self.box_probability = augment, box_probability
        self._rows = {0: np.flatnonzero(self.scenes.levels == 0), 1: np.arange(len(self.scenes))}
        self._order: tuple[tuple[int, int], np.ndarray] | None = None
        if simple_steps and not len(self._rows[0]):
            raise InputError(f"simple_steps is {simple_steps}, but {folder} has no level 0 scenes")

    def __iter__(self) -> Iterator[BatchedDatapoint]:
        """Endless batches from ``start_step`` on."""
        step = self.start_step
        while True:
            yield self.batch(step)
            step += 1

    def batch(self, step: int, level: int | None = None) -> BatchedDatapoint:
        """The batch of one step; ``level`` overrides the curriculum."""
        return self.pack(self.draw(step, level))

    def pack(self, drawn: DrawnBatch) -> BatchedDatapoint:
        """The tensors of a drawn batch."""
        return assemble(drawn.images, drawn.label_maps, drawn.questions, self.mask_size)

    def draw(self, step: int, level: int | None = None) -> DrawnBatch:
        """Pictures, labels and questions of one step; ``level`` overrides the curriculum."""
        if level is None:
            level = 0 if step < self.simple_steps else 1
        rng = np.random.default_rng((self.seed, step, 7))
        drawn = DrawnBatch([], [], [], [])
        for position, row in enumerate(self.scene_rows(step, level)):
            scene = self.scenes[row]
            image, labels, boxes = scene.image, scene.labels, scene.boxes
            curve = None
            if self.augment:
                image, labels, boxes = orient(image, labels, boxes, random_orientation(rng))
                curve = tone_curve(rng)
            drawn.images.append((image, curve))
            drawn.label_maps.append(labels)
            drawn.attributes.append(scene.attributes)
            for query in self._queries(scene.attributes, level, rng):
                box = None if query.box_object is None else noisy_box(boxes[query.box_object], rng)
                drawn.questions.append(Question(position, query.text, query.targets, boxes, box))
        return drawn

    def scene_rows(self, step: int, level: int) -> list[int]:
        """Rows of the folder in this step; an epoch is a fresh permutation of the level."""
        rows = self._rows[level]
        first = step * self.batch_images
        return [self._row(rows, level, first + k) for k in range(self.batch_images)]

    def _row(self, rows: np.ndarray, level: int, position: int) -> int:
        epoch, offset = divmod(position, len(rows))
        if self._order is None or self._order[0] != (level, epoch):
            order = np.random.default_rng((self.seed, epoch, level, 11)).permutation(rows)
            self._order = ((level, epoch), order)
        return int(self._order[1][offset])

    def _queries(self, attributes: np.ndarray, level: int, rng: np.random.Generator) -> list[Query]:
        """The picture's questions; texts repeat only if the scene offers nothing else."""
        half, odd = divmod(self.phrases_per_image, 2)
        positives = half + int(odd and rng.random() < 0.5) if len(attributes) else 0
        found: list[Query] = []
        for number in range(self.phrases_per_image):
            for _ in range(5):
                if number < positives:
                    query = sample_positive(
                        attributes, rng, level, self.box_probability if level else 0.0
                    )
                else:
                    query = sample_negative(attributes, rng, level)
                if all(query.text != other.text for other in found):
                    break
            found.append(query)
        return found

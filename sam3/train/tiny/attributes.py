"""What a patch of a drawn scene shows: targets, classifiers and losses for the trunk.

A phrase says one bit about a picture; the drawn scenes know colour, shape, pattern and object of
every pixel. Linear classifiers on the trunk's output use all of it: alone in the first stage, at a
fifth of the cost of a step of the whole model, then beside the other losses, because the trunk
forgets what the untrained rest does not ask for yet. They are no part of the exported model.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...model.vitdet import ViT
from ..data.scenes.augment import orient, random_orientation, tone_curve
from ..data.scenes.clip_dataset import ClipFolder
from ..data.scenes.dataset import SceneFolder
from ..data.scenes.vocabulary import COLOUR_NAMES, PATTERN_NAMES, SHAPE_NAMES
from ..loss.base import CORE_LOSS_KEY
from . import centres
from .boundaries import OFFSETS, pair_loss

ATTRIBUTES = ("colour", "shape", "pattern")
CLASSES = tuple(len(names) + 1 for names in (COLOUR_NAMES, SHAPE_NAMES, PATTERN_NAMES))
ANSWERS = (*CLASSES, len(OFFSETS), centres.ANSWERS)  # per cell: attributes, pairs, middle
CELLS_PER_PATCH = 4  # along a side: as fine as the masks
BACKGROUND_WEIGHT = 0.1  # nine of ten cells are background
TYPICAL_CELLS = 64  # of an object; its cells weigh 1
UNKNOWN = -1  # class of a cell whose object has no known attributes


@dataclass(frozen=True)
class CellTargets:
    """What the cells of pictures show.

    classes [B, 3, S, S] int64 of colour, shape and pattern, 0 = background, -1 = not known;
    weights [B, S, S] float32 of the cells in the loss; objects [B, S, S] uint8, k + 1 = object k.
    """

    classes: Tensor
    weights: Tensor
    objects: Tensor

    @classmethod
    def stack(cls, pictures: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> CellTargets:
        """From the answers of :func:`cell_targets` for each picture."""
        parts = zip(*pictures, strict=True)
        return cls(*(torch.from_numpy(np.stack(arrays)) for arrays in parts))


@dataclass(frozen=True)
class AttributeBatch:
    """Pictures, [B, 3, R, R] float32 normalised, and what their cells show."""

    images: Tensor
    cells: CellTargets


class AttributeBatches:
    """Pictures with what a grid of cells shows; a pure function of (folder, seed, step).

    clips: every other picture is a frame of these, where objects cover and touch each other more
    often than in scenes; their attributes are not known.
    """

    def __init__(
        self, folder: Path, images: int, *, grid: int, seed: int, clips: Path | None = None
    ) -> None:
        self.scenes = SceneFolder(folder)
        self.clips = None if clips is None else ClipFolder(clips)
        self.images, self.cells, self.seed = images, grid * CELLS_PER_PATCH, seed

    def batch(self, number: int, progress: float) -> AttributeBatch:
        """Batch ``number``; ``progress`` makes no difference."""
        rng, rows = self._begin(number)
        images, targets = zip(*(self._draw(row, rng) for row in rows), strict=True)
        return AttributeBatch(torch.from_numpy(np.stack(images)), CellTargets.stack(targets))

    def rows(self, number: int) -> list[int]:
        """Rows of the folder in batch ``number``; frames of clips count on from there."""
        return self._begin(number)[1]

    def _begin(self, number: int) -> tuple[np.random.Generator, list[int]]:
        rng = np.random.default_rng((self.seed, number, 13))
        rows = rng.integers(len(self.scenes), size=self.images)
        if self.clips is not None:
            frames = len(self.clips) * self.clips.frames
            rows[1::2] = len(self.scenes) + rng.integers(frames, size=len(rows[1::2]))
        return rng, rows.tolist()

    def _draw(self, row: int, rng: np.random.Generator) -> tuple[np.ndarray, Any]:
        image, labels, attributes = self._picture(row)
        boxes = np.zeros((0, 4), dtype=np.float32)
        image, labels, _ = orient(image, labels, boxes, random_orientation(rng))
        curve = tone_curve(rng)
        planes = [np.take(curve[:, c], np.ascontiguousarray(image[..., c])) for c in range(3)]
        return np.stack(planes), cell_targets(labels, attributes, self.cells)

    def _picture(self, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Image, labels and attributes of a scene or of a frame."""
        if row < len(self.scenes):
            scene = self.scenes[row]
            return scene.image, scene.labels, scene.attributes
        assert self.clips is not None  # rows() counts no frames without clips
        number, frame = divmod(row - len(self.scenes), self.clips.frames)
        clip = self.clips[number]
        unknown = np.full((clip.visible.shape[1], 3), UNKNOWN - 1, dtype=np.int8)
        return clip.images[frame], clip.labels[frame], unknown


def cell_targets(
    labels: np.ndarray, attributes: np.ndarray, cells: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colour, shape and pattern at the middle of each cell, its weight, and its object.

    A phrase asks about small and large objects alike, so an object's weight grows with the root
    of its cells only. labels [R, R] (k = object k - 1), attributes [n, 3] -> classes
    [3, cells, cells] int64, weights [cells, cells] float32, objects [cells, cells] uint8.
    """
    picked = centres.pick_cells(labels, cells)
    table = np.zeros((len(attributes) + 1, 3), dtype=np.int64)
    table[1:] = attributes.astype(np.int64) + 1
    counts = np.bincount(picked.ravel(), minlength=len(table)).clip(min=1)
    weights = np.sqrt(TYPICAL_CELLS / counts, dtype=np.float32)
    weights[0] = BACKGROUND_WEIGHT
    return table[picked].transpose(2, 0, 1), weights[picked], np.ascontiguousarray(picked)


class CellHead(nn.Module):
    """One linear layer that names each cell of the trunk's patches."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, sum(ANSWERS) * CELLS_PER_PATCH**2)

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        """[B, C, H, W] -> [B, answers, S, S]: colour, shape, pattern, pairs, middle."""
        logits = self.linear(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return F.pixel_shuffle(logits, CELLS_PER_PATCH).split(ANSWERS, dim=1)


class AttributeClassifier(nn.Module):
    """A trunk and its head, for the stage that trains the trunk alone."""

    def __init__(self, trunk: ViT, head: CellHead) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head

    def forward(self, batch: AttributeBatch) -> tuple[Tensor, ...]:
        """What :class:`CellHead` answers."""
        return self.head(self.trunk(batch.images)[-1])


def attribute_loss(outputs: tuple[Tensor, ...], batch: AttributeBatch) -> dict[str, Tensor]:
    """:func:`cell_loss` of a batch, for the trainer."""
    return cell_loss(outputs, batch.cells)


def cell_loss(outputs: tuple[Tensor, ...], cells: CellTargets) -> dict[str, Tensor]:
    """Weighted mean cross-entropies and accuracies; colour and pattern only where an object is.

    Accuracies count cells of objects, and pairs of cells of two objects. Without any object, what
    needs one is 0.
    """
    losses: dict[str, Tensor] = {}
    *names, pairs, middle = outputs
    for name, logits, classes in zip(ATTRIBUTES, names, cells.classes.unbind(1), strict=True):
        on_object = cells.weights * (classes > 0)
        counted = cells.weights * (classes != UNKNOWN) if name == "shape" else on_object
        costs = F.cross_entropy(logits, classes, reduction="none", ignore_index=UNKNOWN)
        losses[f"loss_{name}"] = _mean(costs, counted)
        losses[f"{name}_accuracy"] = _mean((logits.argmax(1) == classes).float(), on_object)
    losses["loss_pairs"], losses["pairs_accuracy"] = pair_loss(pairs, cells.objects)
    losses["loss_centre"], losses["centre_agreement"] = centres.centre_loss(
        middle, cells.objects, cells.weights
    )
    parts = [value for name, value in losses.items() if name.startswith("loss_")]
    losses[CORE_LOSS_KEY] = torch.stack(parts).sum()
    return losses


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum().clamp(min=BACKGROUND_WEIGHT)

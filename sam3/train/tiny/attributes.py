"""What a patch of a drawn scene shows: targets, classifiers and losses for the trunk.

A phrase says one bit about a picture; the drawn scenes know colour, shape and pattern of every
pixel. Linear classifiers on the trunk's output use all of it: alone in the first stage, at a fifth
of the cost of a step of the whole model, then beside the other losses, because the trunk forgets
what the untrained rest does not ask for yet. They are no part of the exported model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...model.vitdet import ViT
from ..data.scenes.augment import orient, random_orientation, tone_curve
from ..data.scenes.dataset import SceneFolder
from ..data.scenes.vocabulary import COLOUR_NAMES, PATTERN_NAMES, SHAPE_NAMES
from ..loss.base import CORE_LOSS_KEY

ATTRIBUTES = ("colour", "shape", "pattern")
CLASSES = tuple(len(names) + 1 for names in (COLOUR_NAMES, SHAPE_NAMES, PATTERN_NAMES))
CELLS_PER_PATCH = 2  # along a side
BACKGROUND_WEIGHT = 0.1  # nine of ten cells are background
TYPICAL_CELLS = 16  # of an object; its cells weigh 1


@dataclass(frozen=True)
class AttributeBatch:
    """Pictures and what their cells show.

    images [B, 3, R, R] float32 normalised; classes [B, 3, S, S] int64, 0 = background;
    weights [B, S, S] float32 of the cells in the loss.
    """

    images: Tensor
    classes: Tensor
    weights: Tensor


class AttributeBatches:
    """Pictures with the attributes of a grid of cells; a pure function of (folder, seed, step)."""

    def __init__(self, folder: Path, images: int, *, grid: int, seed: int) -> None:
        self.scenes = SceneFolder(folder)
        self.images, self.cells, self.seed = images, grid * CELLS_PER_PATCH, seed

    def batch(self, number: int, progress: float) -> AttributeBatch:
        """Batch ``number``; ``progress`` makes no difference."""
        rng, rows = self._begin(number)
        drawn = zip(*(self._draw(row, rng) for row in rows), strict=True)
        return AttributeBatch(*(torch.from_numpy(np.stack(arrays)) for arrays in drawn))

    def rows(self, number: int) -> list[int]:
        """Rows of the folder in batch ``number``."""
        return self._begin(number)[1]

    def _begin(self, number: int) -> tuple[np.random.Generator, list[int]]:
        rng = np.random.default_rng((self.seed, number, 13))
        return rng, rng.integers(len(self.scenes), size=self.images).tolist()

    def _draw(self, row: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        scene = self.scenes[row]
        image, labels, _ = orient(scene.image, scene.labels, scene.boxes, random_orientation(rng))
        curve = tone_curve(rng)
        planes = [np.take(curve[:, c], np.ascontiguousarray(image[..., c])) for c in range(3)]
        return np.stack(planes), *cell_targets(labels, scene.attributes, self.cells)


def cell_targets(
    labels: np.ndarray, attributes: np.ndarray, cells: int
) -> tuple[np.ndarray, np.ndarray]:
    """Colour, shape and pattern at the middle of each cell, 0 = background, and its weight.

    A phrase asks about small and large objects alike, so an object's weight grows with the root
    of its cells only. labels [R, R] (k = object k - 1), attributes [n, 3] -> classes
    [3, cells, cells] int64, weights [cells, cells] float32.
    """
    side = labels.shape[0] // cells
    centres = labels[side // 2 :: side, side // 2 :: side][:cells, :cells]
    table = np.zeros((len(attributes) + 1, 3), dtype=np.int64)
    table[1:] = attributes.astype(np.int64) + 1
    counts = np.bincount(centres.ravel(), minlength=len(table)).clip(min=1)
    weights = np.sqrt(TYPICAL_CELLS / counts, dtype=np.float32)
    weights[0] = BACKGROUND_WEIGHT
    return table[centres].transpose(2, 0, 1), weights[centres]


class CellHead(nn.Module):
    """One linear layer that names each cell of the trunk's patches."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, sum(CLASSES) * CELLS_PER_PATCH**2)

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        """[B, C, H, W] -> logits [B, classes, S, S] of colour, shape and pattern."""
        logits = self.linear(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return F.pixel_shuffle(logits, CELLS_PER_PATCH).split(CLASSES, dim=1)


class AttributeClassifier(nn.Module):
    """A trunk and its head, for the stage that trains the trunk alone."""

    def __init__(self, trunk: ViT, head: CellHead) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head

    def forward(self, batch: AttributeBatch) -> tuple[Tensor, ...]:
        """Logits [B, classes, S, S] of colour, shape and pattern."""
        return self.head(self.trunk(batch.images)[-1])


def attribute_loss(outputs: tuple[Tensor, ...], batch: AttributeBatch) -> dict[str, Tensor]:
    """:func:`cell_loss` of a batch, for the trainer."""
    return cell_loss(outputs, batch.classes, batch.weights)


def cell_loss(outputs: tuple[Tensor, ...], cells: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """Weighted mean cross-entropies and accuracies; colour and pattern only where an object is.

    Accuracies count cells of objects. Without any object, what needs one is 0.
    """
    losses: dict[str, Tensor] = {}
    for name, logits, classes in zip(ATTRIBUTES, outputs, cells.unbind(1), strict=True):
        on_object = weights * (classes > 0)
        counted = weights if name == "shape" else on_object
        costs = F.cross_entropy(logits, classes, reduction="none")
        losses[f"loss_{name}"] = _mean(costs, counted)
        losses[f"{name}_accuracy"] = _mean((logits.argmax(1) == classes).float(), on_object)
    losses[CORE_LOSS_KEY] = torch.stack([losses[f"loss_{name}"] for name in ATTRIBUTES]).sum()
    return losses


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum().clamp(min=BACKGROUND_WEIGHT)

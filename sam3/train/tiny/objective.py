"""What one training step of the tiny model minimises, and where its batches come from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ...model.data_misc import BatchedDatapoint, BatchedFindTarget, BatchedInferenceMetadata
from ...model.sam3_image import Sam3Image
from ..data.scenes.dataset import SceneBatches
from ..loss.base import CORE_LOSS_KEY
from .attributes import CELLS_PER_PATCH, CellHead, CellTargets, cell_loss, cell_targets
from .recipe import TinyRecipe
from .wording import WordHead, phrase_classes, word_loss

MASK_STRIDE = 4  # masks have four times the resolution of the token grid


@dataclass(frozen=True)
class TinyBatch:
    """A batch and what its pictures and phrases are.

    words [texts, 3] int64.
    """

    datapoint: BatchedDatapoint
    cells: CellTargets
    words: Tensor

    @property
    def find_targets(self) -> list[BatchedFindTarget]:
        """Ground truth of each stage."""
        return self.datapoint.find_targets

    @property
    def find_metadatas(self) -> list[BatchedInferenceMetadata]:
        """Where the questions of each stage come from."""
        return self.datapoint.find_metadatas


@dataclass(frozen=True)
class TinyOutputs:
    """The model's outputs and what its trunk and its text encoder know."""

    stages: Any
    cells: tuple[Tensor, ...]
    words: tuple[Tensor, ...]


class SupervisedModel(nn.Module):
    """A ``Sam3Image`` with the two heads that keep its trunk and its text encoder informed."""

    def __init__(self, model: Sam3Image) -> None:
        super().__init__()
        self.model = model
        self.cell_head = CellHead(model.config.vision.embed_dim)
        self.word_head = WordHead(model.config.d_model)
        self._seen: dict[str, Any] = {}
        backbone = model.backbone
        for name, part in (
            ("trunk", backbone.vision_backbone.trunk),
            ("language", backbone.language_backbone),
        ):
            part.register_forward_hook(lambda *call, name=name: self._keep(name, call[-1]))

    def _keep(self, name: str, output: Any) -> None:
        self._seen[name] = output

    def forward(self, batch: TinyBatch) -> TinyOutputs:
        """One pass of the whole model over the batch."""
        stages = self.model(batch.datapoint)
        padding, features, _ = self._seen["language"]
        count = len(batch.words)
        words = self.word_head(features[:, :count], padding[:count])
        cells = self.cell_head(self._seen["trunk"][-1])
        self._seen.clear()
        return TinyOutputs(stages, cells, words)


class TinyObjective:
    """The SAM 3 losses, those of the two heads, and a penalty that keeps the memory small.

    A growing memory drowns the query stream of the post-norm decoder, and all queries collapse.
    """

    def __init__(self, loss: nn.Module, recipe: TinyRecipe) -> None:
        self.loss = loss
        self.recipe = recipe

    def __call__(self, outputs: TinyOutputs, batch: TinyBatch) -> dict[str, Tensor]:
        """Named scalar losses; ``core_loss`` is differentiated."""
        targets = [Sam3Image.back_convert(target) for target in batch.datapoint.find_targets]
        losses: dict[str, Tensor] = self.loss(outputs.stages, targets)
        memory = outputs.stages[0][-1]["encoder_hidden_states"]
        energy = memory.float().square().mean()
        excess = (energy - self.recipe.memory_limit).clamp(min=0)
        total = losses[CORE_LOSS_KEY] + self.recipe.memory_weight * excess
        losses["memory_energy"] = energy.detach()
        for name, weight, part in (
            ("cell", self.recipe.cell_weight, cell_loss(outputs.cells, batch.cells)),
            ("word", self.recipe.word_weight, word_loss(outputs.words, batch.words)),
        ):
            total = total + weight * part.pop(CORE_LOSS_KEY)
            losses.update({f"{name}_{key}": value.detach() for key, value in part.items()})
        losses[CORE_LOSS_KEY] = total
        return losses


class CurriculumSource:
    """Batches of a scene folder, shrunk to the model's side: easy scenes first, then all.

    augment: turn pictures and change their light.
    """

    def __init__(
        self,
        folder: Path,
        recipe: TinyRecipe,
        *,
        side: int,
        mask_size: int,
        seed: int,
        augment: bool = True,
    ) -> None:
        self.batches = SceneBatches(
            folder, recipe.images, recipe.phrases, seed, mask_size=mask_size, augment=augment
        )
        self.side = side
        self.cells = mask_size // MASK_STRIDE * CELLS_PER_PATCH
        self.simple_share = recipe.simple_share

    def batch(self, number: int, progress: float) -> TinyBatch:
        """Batch ``number`` at ``progress`` in [0, 1] of the training."""
        level = 0 if progress < self.simple_share else 1
        drawn = self.batches.draw(number, level=level)
        datapoint = shrink(self.batches.pack(drawn), self.side)
        targets = [
            cell_targets(labels, attributes, self.cells)
            for labels, attributes in zip(drawn.label_maps, drawn.attributes, strict=True)
        ]
        cells, words = CellTargets.stack(targets), phrase_classes(datapoint.find_text_batch)
        return TinyBatch(datapoint, cells, words)


def shrink(batch: BatchedDatapoint, side: int) -> BatchedDatapoint:
    """``batch`` with its pictures resized to ``side`` x ``side`` pixels."""
    if batch.img_batch.shape[-1] == side:
        return batch
    pictures = F.interpolate(batch.img_batch, size=(side, side), mode="bilinear", antialias=True)
    return replace(batch, img_batch=pictures)


def describe_batch(batch: TinyBatch) -> str:
    """The phrases of a batch, for error messages."""
    return "[" + ", ".join(batch.datapoint.find_text_batch) + "]"

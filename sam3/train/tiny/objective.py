"""What one training step of the tiny model minimises, and where its batches come from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ...model.data_misc import BatchedDatapoint
from ...model.sam3_image import Sam3Image
from ..data.scenes.dataset import SceneBatches
from ..loss.base import CORE_LOSS_KEY
from .recipe import TinyRecipe


class TinyObjective:
    """The SAM 3 losses plus a penalty that keeps the encoder memory small.

    A growing memory drowns the query stream of the post-norm decoder, and all queries collapse.
    """

    def __init__(self, loss: nn.Module, recipe: TinyRecipe) -> None:
        self.loss = loss
        self.recipe = recipe

    def __call__(self, outputs: Any, batch: BatchedDatapoint) -> dict[str, Tensor]:
        """Named scalar losses of ``Sam3Image(batch)``; ``core_loss`` is differentiated."""
        targets = [Sam3Image.back_convert(target) for target in batch.find_targets]
        losses: dict[str, Tensor] = self.loss(outputs, targets)
        memory = outputs[0][-1]["encoder_hidden_states"]
        energy = memory.float().square().mean()
        excess = (energy - self.recipe.memory_limit).clamp(min=0)
        losses[CORE_LOSS_KEY] = losses[CORE_LOSS_KEY] + self.recipe.memory_weight * excess
        losses["memory_energy"] = energy.detach()
        return losses


class CurriculumSource:
    """Batches of a scene folder, shrunk to the model's side: easy scenes first, then all."""

    def __init__(
        self, folder: Path, recipe: TinyRecipe, *, side: int, mask_size: int, seed: int
    ) -> None:
        self.batches = SceneBatches(
            folder, recipe.images, recipe.phrases, seed, mask_size=mask_size
        )
        self.side = side
        self.simple_share = recipe.simple_share

    def batch(self, number: int, progress: float) -> BatchedDatapoint:
        """Batch ``number`` at ``progress`` in [0, 1] of the training."""
        level = 0 if progress < self.simple_share else 1
        return shrink(self.batches.batch(number, level=level), self.side)


def shrink(batch: BatchedDatapoint, side: int) -> BatchedDatapoint:
    """``batch`` with its pictures resized to ``side`` x ``side`` pixels."""
    if batch.img_batch.shape[-1] == side:
        return batch
    pictures = F.interpolate(batch.img_batch, size=(side, side), mode="bilinear", antialias=True)
    return replace(batch, img_batch=pictures)


def describe_batch(batch: BatchedDatapoint) -> str:
    """The phrases of a batch, for error messages."""
    return "[" + ", ".join(batch.find_text_batch) + "]"

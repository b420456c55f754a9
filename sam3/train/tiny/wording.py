"""What a phrase says: targets, classifier and losses that keep the words apart.

Untaught, all shape nouns end up as one vector: nothing rewards a difference that the rest of the
model cannot see yet, and the rest cannot learn to see it while the vectors are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.scenes.vocabulary import (
    MAIN_COLOURS,
    PATTERN_NAMES,
    Concept,
    parse,
    sample_colour_name,
    sample_shape_name,
    spell,
)
from ..loss.base import CORE_LOSS_KEY
from .attributes import ATTRIBUTES, CLASSES
from .recipe import TinyRecipe

IGNORED = -100  # what a phrase with an unknown word names
_NAMED = {"colour": 0.65, "shape": 0.8, "pattern": 0.15}  # how often a phrase says it


@dataclass(frozen=True)
class PhraseBatch:
    """n phrases; classes [n, 3] int64 of what they name, 0 = not said."""

    phrases: list[str]
    classes: Tensor


class PhraseBatches:
    """Phrases of random concepts; a pure function of (seed, step)."""

    def __init__(self, count: int, *, seed: int) -> None:
        self.count, self.seed = count, seed

    def batch(self, number: int, progress: float) -> PhraseBatch:
        """Batch ``number``; ``progress`` makes no difference."""
        rng = np.random.default_rng((self.seed, number, 17))
        concepts = [_random_concept(rng) for _ in range(self.count)]
        classes = torch.tensor([_classes(concept) for concept in concepts])
        return PhraseBatch([spell(concept, rng) for concept in concepts], classes)


def _random_concept(rng: np.random.Generator) -> Concept:
    says = {name: rng.random() < share for name, share in _NAMED.items()}
    main_only = bool(rng.random() < len(MAIN_COLOURS) / 12)
    return Concept(
        colour=sample_colour_name(rng, main_only) if says["colour"] else None,
        shape=sample_shape_name(rng) if says["shape"] else None,
        pattern=int(rng.integers(1, len(PATTERN_NAMES))) if says["pattern"] else None,
    )


def phrase_classes(phrases: Sequence[str]) -> Tensor:
    """What phrases name: [n, 3] int64, 0 = not said, ``IGNORED`` where a word is unknown."""
    return torch.tensor([_classes(parse(phrase)) for phrase in phrases])


def _classes(concept: Concept | None) -> list[int]:
    if concept is None:
        return [IGNORED] * len(ATTRIBUTES)
    said = (concept.colour, concept.shape, concept.pattern)
    return [0 if value is None else value + 1 for value in said]


class WordHead(nn.Module):
    """One linear layer on the mean of a phrase's tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, sum(CLASSES))

    def forward(self, features: Tensor, padding: Tensor) -> tuple[Tensor, ...]:
        """[L, n, C] and [n, L] (True = padding) -> logits [n, classes] of the attributes."""
        words = (~padding).T[..., None].to(features.dtype)
        mean = (features * words).sum(0) / words.sum(0)
        return self.linear(mean).split(CLASSES, dim=1)


class PhraseClassifier(nn.Module):
    """A text encoder and its head, for the stage that trains the text encoder alone."""

    def __init__(self, language: nn.Module, head: WordHead) -> None:
        super().__init__()
        self.language = language
        self.head = head

    def forward(self, batch: PhraseBatch) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Token features [L, n, C] and logits [n, classes] of colour, shape and pattern."""
        device = self.head.linear.weight.device
        padding, features, _ = self.language(batch.phrases, None, device=device)
        return features, self.head(features, padding)


class PhraseObjective:
    """Losses of the text stage; features that grow beyond the limit cost, as the memory does."""

    def __init__(self, recipe: TinyRecipe) -> None:
        self.recipe = recipe

    def __call__(
        self, outputs: tuple[Tensor, tuple[Tensor, ...]], batch: PhraseBatch
    ) -> dict[str, Tensor]:
        """Named scalars; ``core_loss`` is differentiated."""
        features, logits = outputs
        losses = word_loss(logits, batch.classes)
        excess = (features.square().mean() - self.recipe.memory_limit).clamp(min=0)
        losses[CORE_LOSS_KEY] = losses[CORE_LOSS_KEY] + excess
        return losses


def word_loss(outputs: tuple[Tensor, ...], classes: Tensor) -> dict[str, Tensor]:
    """Mean cross-entropy and accuracy of each attribute; their sum is ``core_loss``."""
    losses: dict[str, Tensor] = {}
    known = classes[:, 0] != IGNORED
    for name, logits, wanted in zip(ATTRIBUTES, outputs, classes.unbind(1), strict=True):
        # a sum over none, not a mean: a batch may hold no phrase of the grammar
        total = F.cross_entropy(logits, wanted, ignore_index=IGNORED, reduction="sum")
        losses[f"loss_{name}"] = total / known.sum().clamp(min=1)
        right = (logits.argmax(1) == wanted)[known]
        losses[f"{name}_accuracy"] = right.float().sum() / known.sum().clamp(min=1)
    losses[CORE_LOSS_KEY] = torch.stack([losses[f"loss_{name}"] for name in ATTRIBUTES]).sum()
    return losses

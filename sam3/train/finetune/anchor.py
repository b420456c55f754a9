"""Old phrases keep their meaning: a penalty on changes of their text features.

Where only the text encoder learns, a phrase whose features stay is answered exactly as before,
whatever the new phrases do. So this protects far better than asking old questions again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..data.scenes.phrases import VISUAL_TEXT, sample_kind
from ..data.scenes.vocabulary import (
    COLOUR_NAMES,
    PATTERN_NAMES,
    SHAPE_NAMES,
    Concept,
    spell,
)

_AT_A_TIME = 64


class TextAnchor:
    """Relative squared change of the text features of some phrases since it was made.

    Args:
        encoder: the text encoder, with the weights to stay close to.
        phrases: what shall keep its meaning.
    """

    def __init__(self, encoder: nn.Module, phrases: Sequence[str]) -> None:
        self.encoder = encoder
        self.phrases = list(dict.fromkeys(phrases))
        before = encoder.training
        with torch.no_grad():
            padding, features, _ = encoder.eval()(self.phrases)
        encoder.train(before)
        self.features = features.transpose(0, 1).clone()  # [n, L, C]
        self.words = ~padding
        self.scale = self.features[self.words].square().mean()

    def __call__(self) -> Tensor:
        """Penalty for a random part of the phrases, scalar; 0 for no change."""
        count = min(_AT_A_TIME, len(self.phrases))
        chosen = torch.randperm(len(self.phrases))[:count].tolist()
        padding, features, _ = self.encoder([self.phrases[k] for k in chosen])
        length = features.shape[0]
        change = features.transpose(0, 1) - self.features[chosen, :length]
        return change[~padding].square().mean() / self.scale


def drawn_phrases(count: int, seed: int = 0) -> list[str]:
    """Phrases that the drawn scenes know, at most ``count``, all kinds and spellings of them."""
    rng = np.random.default_rng((seed, 31))
    drawn = {VISUAL_TEXT, *(spell(Concept(), rng) for _ in range(8))}
    for _ in range(count):
        drawn.add(spell(_random_concept(rng), rng))
    return sorted(drawn)[:count]


def _random_concept(rng: np.random.Generator) -> Concept:
    kind = sample_kind(rng, level=1)
    parts: dict[str, Any] = {
        "colour": int(rng.integers(len(COLOUR_NAMES))),
        "shape": int(rng.integers(len(SHAPE_NAMES))),
        "pattern": int(rng.integers(1, len(PATTERN_NAMES))),
    }
    wanted = {
        "full": ("colour", "shape"),
        "patterned": ("colour", "shape", "pattern"),
        "any": (),
    }.get(kind, (kind,))
    return Concept(**{name: parts[name] for name in wanted})

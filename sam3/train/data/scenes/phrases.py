"""Draws what is asked about a scene: phrases that fit, phrases that do not, and boxes.

Works on the attribute table alone ([n, 3] int: colour, shape, pattern), so that it is the same
for scenes just drawn and scenes read back from disk.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .vocabulary import (
    PATTERN_NAMES,
    Concept,
    sample_colour_name,
    sample_shape_name,
    spell,
)

VISUAL_TEXT = "visual"
_KINDS = ("full", "shape", "colour", "any", "patterned")
_KIND_WEIGHTS = {0: (0.4, 0.35, 0.25, 0.0, 0.0), 1: (0.43, 0.27, 0.2, 0.06, 0.04)}


@dataclass(frozen=True)
class Query:
    """One question about a scene.

    text: the phrase; targets: indices of all objects it names, ascending; kind: the concept's
    kind, or ``visual``; box_object: the object whose box is given as a prompt, or None;
    hard: a negative that differs from a present object in one attribute.
    """

    text: str
    targets: tuple[int, ...]
    kind: str
    box_object: int | None = None
    hard: bool = False


def targets_of(concept: Concept, attributes: np.ndarray) -> tuple[int, ...]:
    """Indices of every object the concept names."""
    return tuple(int(i) for i in np.flatnonzero(concept.matches(attributes)))


def _concept_of(attributes: np.ndarray, kind: str, rng: np.random.Generator) -> Concept:
    """The concept of the given kind that names an object with these attributes [3]."""
    colour, shape, pattern = (int(v) for v in attributes)
    if kind == "patterned":
        if pattern == 0:
            kind = "full"
        else:
            return Concept(
                colour if rng.random() < 0.6 else None,
                shape if rng.random() < 0.8 else None,
                pattern,
            )
    return Concept(
        colour if kind in ("full", "colour") else None,
        shape if kind in ("full", "shape") else None,
    )


def sample_kind(rng: np.random.Generator, level: int) -> str:
    """The kind of the next phrase: see ``Concept.kind``."""
    return str(rng.choice(_KINDS, p=_KIND_WEIGHTS[min(level, 1)]))


def sample_positive(
    attributes: np.ndarray, rng: np.random.Generator, level: int = 1, box_probability: float = 0.25
) -> Query:
    """A phrase that names something in the scene; attributes [n >= 1, 3].

    With ``box_probability`` the box of one target comes along; half of these say only "visual"
    and then mean every object of the boxed one's colour and shape.
    """
    chosen = int(rng.integers(len(attributes)))
    boxed = rng.random() < box_probability
    if boxed and rng.random() < 0.5:
        alike = _concept_of(attributes[chosen], "full", rng)
        return Query(VISUAL_TEXT, targets_of(alike, attributes), VISUAL_TEXT, chosen)
    kind = sample_kind(rng, level)
    if level and attributes[chosen, 2] and rng.random() < 0.35:
        kind = "patterned"  # rare in scenes; without this the word would mean "absent"
    concept = _concept_of(attributes[chosen], kind, rng)
    text = spell(concept, rng, plain=level == 0)
    return Query(text, targets_of(concept, attributes), concept.kind, chosen if boxed else None)


def sample_negative(
    attributes: np.ndarray, rng: np.random.Generator, level: int = 1, hard_probability: float = 0.6
) -> Query:
    """A phrase that names nothing in the scene; attributes [n >= 0, 3]."""
    if len(attributes) and rng.random() < hard_probability:
        for _ in range(6):
            concept = _hard_negative(attributes, rng, level)
            if concept is not None and not concept.matches(attributes).any():
                return Query(spell(concept, rng, plain=level == 0), (), concept.kind, hard=True)
    while True:
        concept = _random_concept(rng, level, allow_any=not len(attributes))
        if not concept.matches(attributes).any():
            return Query(spell(concept, rng, plain=level == 0), (), concept.kind)


def _hard_negative(attributes: np.ndarray, rng: np.random.Generator, level: int) -> Concept | None:
    """A present object's description with one attribute exchanged."""
    base = attributes[rng.integers(len(attributes))]
    colour, shape, pattern = (int(v) for v in base)
    # Half of the time the wrong attribute is one another object has.
    donor = attributes[rng.integers(len(attributes))] if rng.random() < 0.5 else None
    if level and rng.random() < 0.04:
        other = int(rng.choice([p for p in range(1, len(PATTERN_NAMES)) if p != pattern]))
        return Concept(colour if rng.random() < 0.5 else None, shape, other)
    if rng.random() < 0.5:
        colour = int(donor[0]) if donor is not None else sample_colour_name(rng)
    else:
        shape = int(donor[1]) if donor is not None else sample_shape_name(rng)
    return Concept(colour, shape)


def _random_concept(rng: np.random.Generator, level: int, allow_any: bool) -> Concept:
    kind = sample_kind(rng, level)
    if kind == "any" and not allow_any:
        kind = "full"
    drawn = np.array(
        [
            sample_colour_name(rng),
            sample_shape_name(rng),
            rng.integers(1, len(PATTERN_NAMES)),
        ]
    )
    return _concept_of(drawn, kind, rng)


def noisy_box(box: np.ndarray, rng: np.random.Generator, noise: float = 0.1) -> np.ndarray:
    """A box as a person would draw it: sides moved by N(0, noise * side), clipped to the picture.

    box [4] normalised cxcywh -> [4] float32 of the same form; unchanged if it would collapse.
    """
    cx, cy, w, h = (float(v) for v in box)
    shift = rng.normal(0, noise, 4).clip(-2 * noise, 2 * noise) * (w, h, w, h)
    corners = np.clip(np.array([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]) + shift, 0, 1)
    width, height = corners[2] - corners[0], corners[3] - corners[1]
    if width <= 0.3 * w or height <= 0.3 * h:
        return np.asarray(box, dtype=np.float32)
    return np.array(
        [corners[0] + width / 2, corners[1] + height / 2, width, height], dtype=np.float32
    )

"""Colours keep apart, and every spelling of a concept means that concept."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from sam3.train.data.scenes.vocabulary import (
    COLOUR_NAMES,
    MAIN_COLOURS,
    PATTERN_NAMES,
    SHAPE_NAMES,
    Concept,
    parse,
    sample_rgb,
    spell,
)

_COLOURS = [None, *range(len(COLOUR_NAMES))]
_SHAPES = [None, *range(len(SHAPE_NAMES))]
_PATTERNS = [None, *range(1, len(PATTERN_NAMES))]
_TABLE = np.array(
    list(
        itertools.product(
            range(len(COLOUR_NAMES)), range(len(SHAPE_NAMES)), range(len(PATTERN_NAMES))
        )
    )
)


def test_required_words_are_there() -> None:
    assert set(MAIN_COLOURS) == set("red green blue yellow orange purple white black".split())
    assert {"circle", "square", "triangle", "star", "cross"} <= set(SHAPE_NAMES)


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        ("red circle", Concept(0, 0)),
        ("a red circle", Concept(0, 0)),
        ("the red disk", Concept(0, 0)),
        ("red discs", Concept(0, 0)),
        ("crosses", Concept(shape=4)),
        ("stars", Concept(shape=3)),
        ("square", Concept(shape=1)),
        ("orange object", Concept(colour=4)),
        ("grey shapes", Concept(colour=10)),
        ("a striped blue triangle", Concept(2, 2, 1)),
        ("dotted objects", Concept(pattern=2)),
        ("object", Concept()),
        ("shape", Concept()),
        ("red dog", None),
    ],
)
def test_parse(phrase: str, expected: Concept | None) -> None:
    assert parse(phrase) == expected


@pytest.mark.parametrize("pattern", _PATTERNS)
@pytest.mark.parametrize("shape", _SHAPES)
def test_every_spelling_means_its_concept(shape: int | None, pattern: int | None) -> None:
    rng = np.random.default_rng(0)
    for colour in _COLOURS:
        concept = Concept(colour, shape, pattern)
        spellings = {spell(concept, rng) for _ in range(40)}
        assert len(spellings) >= 4
        assert {parse(text) for text in spellings} == {concept}
        wanted = [
            (colour is None or row[0] == colour)
            and (shape is None or row[1] == shape)
            and (pattern is None or row[2] == pattern)
            for row in _TABLE
        ]
        assert concept.matches(_TABLE).tolist() == wanted


@pytest.mark.parametrize(
    ("concept", "text", "kind"),
    [
        (Concept(0, 0), "red circle", "full"),
        (Concept(shape=4), "cross", "shape"),
        (Concept(colour=7), "black shape", "colour"),
        (Concept(), "shape", "any"),
        (Concept(5, 1, 2), "dotted purple square", "patterned"),
    ],
)
def test_plain_spelling_and_kind(concept: Concept, text: str, kind: str) -> None:
    assert spell(concept, np.random.default_rng(1), plain=True) == text
    assert concept.kind == kind


def test_articles_fit_the_next_word() -> None:
    rng = np.random.default_rng(2)
    texts = {spell(Concept(4, 1), rng) for _ in range(60)}
    assert "an orange square" in texts and "a orange square" not in texts


def test_colours_of_different_names_never_come_close() -> None:
    rng = np.random.default_rng(3)
    samples = [np.stack([sample_rgb(c, rng) for _ in range(150)]) for c in range(len(COLOUR_NAMES))]
    for first, second in itertools.combinations(range(len(samples)), 2):
        gap = np.abs(samples[first][:, None] - samples[second][None]).max(-1).min()
        assert gap > 20, (COLOUR_NAMES[first], COLOUR_NAMES[second], gap)

"""Positive phrases name exactly their targets, negative ones nothing."""

from __future__ import annotations

import numpy as np
import pytest

from sam3.train.data.scenes.phrases import (
    VISUAL_TEXT,
    noisy_box,
    sample_negative,
    sample_positive,
)
from sam3.train.data.scenes.vocabulary import parse

_TABLES = [
    np.array([[0, 0, 0]], dtype=np.int8),
    np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0], [2, 0, 2]], dtype=np.int8),
    np.array([[7, 4, 1], [6, 3, 0], [7, 4, 1], [9, 5, 2], [1, 2, 0], [6, 4, 0]], dtype=np.int8),
]


def _truth(text: str, table: np.ndarray) -> tuple[int, ...]:
    concept = parse(text)
    assert concept is not None, text
    return tuple(
        i
        for i, (colour, shape, pattern) in enumerate(table.tolist())
        if concept.colour in (None, colour)
        and concept.shape in (None, shape)
        and concept.pattern in (None, pattern)
    )


@pytest.mark.parametrize("table", _TABLES)
@pytest.mark.parametrize("level", [0, 1])
def test_targets_are_exhaustive(table: np.ndarray, level: int) -> None:
    rng = np.random.default_rng(0)
    kinds = set()
    for _ in range(300):
        query = sample_positive(table, rng, level)
        kinds.add(query.kind)
        assert query.targets
        if query.kind == VISUAL_TEXT:
            boxed = table[query.box_object]
            alike = [i for i, row in enumerate(table) if (row[:2] == boxed[:2]).all()]
            assert query.text == "visual" and query.targets == tuple(alike)
        else:
            assert query.targets == _truth(query.text, table)
            assert query.box_object is None or query.box_object in query.targets
    assert {"full", "shape", "colour"} <= kinds


@pytest.mark.parametrize("table", [np.zeros((0, 3), dtype=np.int8), *_TABLES])
@pytest.mark.parametrize("level", [0, 1])
def test_negatives_name_nothing(table: np.ndarray, level: int) -> None:
    rng = np.random.default_rng(1)
    queries = [sample_negative(table, rng, level) for _ in range(300)]
    for query in queries:
        assert query.targets == () and _truth(query.text, table) == ()
    hard = [q for q in queries if q.hard]
    assert (len(hard) > 120) == (len(table) > 0)
    for query in hard:
        concept = parse(query.text)
        near = [
            (concept.colour == row[0]) + (concept.shape == row[1]) + (concept.colour is None) >= 1
            for row in table
        ]
        assert any(near), query.text


def test_simple_level_uses_bare_phrases_only() -> None:
    rng = np.random.default_rng(2)
    texts = {sample_positive(_TABLES[2], rng, 0, 0.0).text for _ in range(200)}
    assert not any(text.split()[0] in ("a", "an", "the", "striped", "dotted") for text in texts)
    assert "object" not in texts and "black cross" in texts


def test_box_prompts_come_at_their_rate() -> None:
    rng = np.random.default_rng(3)
    queries = [sample_positive(_TABLES[1], rng) for _ in range(2000)]
    boxed = [q for q in queries if q.box_object is not None]
    assert len(boxed) / 2000 == pytest.approx(0.25, abs=0.04)
    assert sum(q.kind == VISUAL_TEXT for q in boxed) / len(boxed) == pytest.approx(0.5, abs=0.08)


def test_noisy_box_stays_near_and_inside() -> None:
    rng = np.random.default_rng(4)
    box = np.array([0.95, 0.5, 0.1, 0.3], dtype=np.float32)
    moved = np.stack([noisy_box(box, rng) for _ in range(200)])
    assert moved.dtype == np.float32
    assert (moved[:, 0] + moved[:, 2] / 2 <= 1 + 1e-6).all() and (moved[:, 2:] > 0.02).all()
    assert np.abs(moved - box).max() <= 0.12 + 1e-6 and moved.std(0).min() > 0.002

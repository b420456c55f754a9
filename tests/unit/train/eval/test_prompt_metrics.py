"""J of prompted objects against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sam3.train.eval.prompt_metrics import (
    PromptRecord,
    j_by_frame,
    region_similarity,
    rows,
    summarise,
)


def _record(j: list[float], visible: list[int], prompt: str = "click", **more: object):
    values = {"motion": "stay", "objects": 1, "area": 0.05, **more}
    return PromptRecord(prompt, np.array(j), np.array(visible, dtype=bool), **values)


def test_region_similarity() -> None:
    empty, full = np.zeros((2, 4), dtype=bool), np.ones((2, 4), dtype=bool)
    half = full.copy()
    half[1] = False
    assert region_similarity(full, full) == region_similarity(empty, empty) == 1
    assert region_similarity(half, full) == region_similarity(full, half) == 0.5
    assert region_similarity(empty, full) == region_similarity(full, empty) == 0


def test_frame_0_is_apart_and_absent_frames_count() -> None:
    stays = _record([0.9, 0.8, 0.4, 0.6], [1, 1, 1, 1])
    leaves = _record([0.7, 0.5, 1, 0], [1, 1, 0, 0], motion="leave")
    total = summarise([stays, leaves])
    assert total["objects"] == 2 and total["J"] == pytest.approx((0.8 + 0.4 + 0.6 + 1.5) / 6)
    assert total["J_visible"] == pytest.approx((0.8 + 0.4 + 0.6 + 0.5) / 4)
    assert total["absent_frames"] == 2 and total["absent_empty"] == 0.5
    assert total["J_first"] == pytest.approx(0.8) and total["J_last"] == pytest.approx(0.3)
    assert total["followed"] == pytest.approx(3 / 4)
    assert j_by_frame([stays, leaves]) == pytest.approx([0.8, 0.65, 0.7, 0.3])


def test_without_absent_frames_their_share_is_unknown() -> None:
    assert math.isnan(summarise([_record([1, 1], [1, 1])])["absent_empty"])


def test_rows() -> None:
    records = [
        _record([1, 1], [1, 1]),
        _record([1, 0.5], [1, 1], objects=3, motion="cross", area=0.004),
        _record([1, 0.25], [1, 1], "box"),
    ]
    found = rows(records)
    assert found["one click"]["J"] == 0.75 and found["box"]["J"] == 0.25
    assert found["click, several objects"]["J"] == found["click, crosses another"]["J"] == 0.5
    assert found["click, under 1 % of the picture"]["objects"] == 1
    assert "true mask" not in found and "click, leaves" not in found


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="one value per frame of 2 or more"):
        _record([1], [1])

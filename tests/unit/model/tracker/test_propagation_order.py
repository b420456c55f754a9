"""Which frames a propagation visits."""

from __future__ import annotations

import pytest

from sam3.model.tracker.propagate import processing_order


@pytest.mark.parametrize(
    ("start", "max_frames", "reverse", "expected"),
    [
        (0, None, False, [0, 1, 2, 3, 4]),
        (2, 1, False, [2, 3]),
        (4, 0, False, [4]),
        (3, 9, False, [3, 4]),
        (3, None, True, [3, 2, 1, 0]),
        (3, 2, True, [3, 2, 1]),
        (3, 0, True, [3]),
        (0, None, True, [0]),
        (0, 3, True, [0]),
    ],
)
def test_processing_order(
    start: int, max_frames: int | None, reverse: bool, expected: list[int]
) -> None:
    assert list(processing_order(start, max_frames, 5, reverse)) == expected

"""What a video session remembers of its tracks stays bounded, however long the video is."""

from __future__ import annotations

import pytest

from sam3.config.video import HotstartConfig
from sam3.model.video.hotstart import process_hotstart
from sam3.model.video.metadata import Rank0Metadata

NOTHING = {"reverse": False, "new_ids": [], "det_to_ids": {}, "unmatched_ids": [], "empty_ids": []}


def run(frames: int, rules: HotstartConfig, **events: object) -> tuple[Rank0Metadata, set[int]]:
    """Two tracks from frame 0 on, with the same events on every later frame; ids removed."""
    notes, removed = Rank0Metadata(), set()
    process_hotstart(notes, rules, 0, **{**NOTHING, "new_ids": [0, 1]})
    for frame in range(1, frames):
        notes = notes.copy()
        removed |= process_hotstart(notes, rules, frame, **{**NOTHING, **events})
    return notes, removed


@pytest.mark.parametrize(
    ("events", "field", "key"),
    [
        ({"unmatched_ids": [1]}, "unmatched_frame_inds", 1),
        ({"det_to_ids": {0: [0, 1]}}, "overlap_pair_to_frame_inds", (0, 1)),
    ],
)
def test_histories_are_bounded(events: dict, field: str, key: object) -> None:
    rules = HotstartConfig(delay=0, unmatch_thresh=0, dup_thresh=0)
    short, _ = run(200, rules, **events)
    assert getattr(short, field)[key] == list(range(1, 200))
    long, _ = run(2000, rules, **events)
    assert getattr(long, field)[key] == list(range(2000 - rules.history, 2000))


def test_a_history_is_as_long_as_its_threshold() -> None:
    rules = HotstartConfig(delay=400, unmatch_thresh=300, dup_thresh=350)
    assert rules.history == 350
    _, removed = run(300, rules, unmatched_ids=[1])
    assert removed == set()
    _, removed = run(301, rules, unmatched_ids=[1])
    assert removed == {1}

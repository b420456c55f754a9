"""Which frames stay in memory: pure decisions."""

from __future__ import annotations

import pytest

from sam3.model.tracker.memory_select import choose_memories
from sam3.model.tracker.retention import decide
from sam3.model.tracker.state import TrackRun
from sam3.model.tracker.types import MemoryRules

RULES = MemoryRules(
    num_maskmem=7, max_cond_frames=4, keep_first_cond_frame=False, stride=1, max_obj_ptrs=16
)
SELECTING = MemoryRules(
    num_maskmem=7,
    max_cond_frames=4,
    keep_first_cond_frame=False,
    stride=1,
    max_obj_ptrs=16,
    score_threshold=0.01,
)
NUM_FRAMES = 200


def worth(frames: range, selecting: bool) -> dict[int, float | None]:
    """Every third frame is bad."""
    return {t: (0.0 if t % 3 == 0 else 0.5) if selecting else None for t in frames}


@pytest.mark.parametrize("rules", [RULES, SELECTING], ids=["plain", "selecting"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cond", [[100], [100, 110, 117, 123, 130, 139, 140]])
def test_what_a_continued_run_chooses_is_kept(
    rules: MemoryRules, reverse: bool, cond: list[int]
) -> None:
    """After 40 frames from frame 100, going on or the other way from the start, nothing misses."""
    selecting = rules.score_threshold is not None
    frames = range(60, 101) if reverse else range(100, 141)
    cond = [200 - t for t in cond] if reverse else cond
    scores = {t: s for t, s in worth(frames, selecting).items() if t not in cond}
    run = TrackRun(100, frames[0] if reverse else frames[-1], reverse)
    keep = decide(scores, cond, run, rules)
    onwards = run.head + (-1 if reverse else 1)
    other_way = 100 + (1 if reverse else -1)
    for frame, direction in ((onwards, reverse), (other_way, not reverse)):
        choice = choose_memories(frame, NUM_FRAMES, direction, cond, scores, rules)
        for memory in choice.spatial:
            place = keep.cond if memory.t_pos == 0 or memory.frame_idx in cond else keep.spatial
            assert memory.frame_idx in place, (frame, memory)
        for pointer in choice.pointers:
            assert pointer.frame_idx in keep.pointers | keep.spatial | keep.cond, (frame, pointer)
        left = {t: s for t, s in scores.items() if t in keep.pointers | keep.spatial}
        kept_cond = [t for t in cond if t in keep.cond]
        assert choose_memories(frame, NUM_FRAMES, direction, kept_cond, left, rules) == choice


@pytest.mark.parametrize("selecting", [False, True])
def test_kept_frames_do_not_grow(selecting: bool) -> None:
    rules = SELECTING if selecting else RULES
    sizes = []
    for head in (60, 120, 180):
        keep = decide(worth(range(1, head + 1), selecting), [0], TrackRun(0, head, False), rules)
        sizes.append((len(keep.spatial), len(keep.pointers), len(keep.cond)))
    assert sizes[0] == sizes[1] == sizes[2]
    assert sizes[0][0] <= 4 * 8 and sizes[0][1] <= 4 * 17


def test_conditioning_frames_ahead_stay_and_far_ones_go() -> None:
    cond = list(range(0, 200, 10))
    keep = decide({}, cond, TrackRun(0, 100, False), RULES)
    assert set(range(100, 200, 10)) <= keep.cond, "not reached yet"
    assert {0, 10, 20, 30, 70, 80, 90} <= keep.cond, "selectable from the start and from here"
    assert not {40, 50, 60} & keep.cond
    backwards = decide({}, cond, TrackRun(190, 100, True), RULES)
    assert set(range(0, 110, 10)) <= backwards.cond
    assert not {140, 150} & backwards.cond


def test_without_a_limit_all_conditioning_frames_stay() -> None:
    rules = MemoryRules(
        num_maskmem=7, max_cond_frames=-1, keep_first_cond_frame=False, stride=1, max_obj_ptrs=16
    )
    cond = range(0, 200, 10)
    assert decide({}, cond, TrackRun(0, 100, False), rules).cond == set(cond)


def test_the_first_conditioning_frame_can_be_kept() -> None:
    rules = MemoryRules(
        num_maskmem=7, max_cond_frames=4, keep_first_cond_frame=True, stride=1, max_obj_ptrs=16
    )
    cond = range(0, 200, 10)
    assert 0 in decide({}, cond, TrackRun(190, 199, False), rules).cond

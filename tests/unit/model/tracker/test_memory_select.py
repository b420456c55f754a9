"""Which memories a frame looks at, as tables; exact values of the published rules."""

from __future__ import annotations

import json

import pytest
import torch

from sam3.model.sam3_tracker_base import Sam3TrackerBase
from sam3.model.tracker.memory_select import choose_memories, frame_filter, mem_score
from sam3.model.tracker.types import MemoryRules
from tests.support import golden

LOGIC = json.loads((golden.FOLDER / "video" / "logic.json").read_text(encoding="utf-8"))
THRESHOLD, MAX_POINTERS = 0.01, 16


@pytest.mark.parametrize("case", LOGIC["frame_filter"])
def test_frame_filter(case):
    found = frame_filter(
        {int(t): score for t, score in case["scores"].items()},
        case["frame"],
        case["num_frames"],
        case["reverse"],
        THRESHOLD,
        min(case["num_frames"], MAX_POINTERS) - 1,
    )
    assert found == case["valid"]


@pytest.mark.parametrize("case", LOGIC["cal_mem_score"])
def test_worth_of_a_memory(case):
    score = Sam3TrackerBase.cal_mem_score(torch.tensor(case["obj"]), torch.tensor(case["iou"]))
    assert float(score) == pytest.approx(case["out"], abs=1e-6)


def test_worth_is_a_mean_over_pairs_or_over_objects():
    logits, ious = torch.tensor([[2.0], [0.5]]), torch.tensor([0.2, 0.9])
    pairs = mem_score(logits, ious)
    objects = mem_score(logits, ious[:, None])
    presence = 2 * logits.sigmoid() - 1
    torch.testing.assert_close(pairs, presence.mean() * ious.mean())
    torch.testing.assert_close(objects, (presence * ious[:, None]).mean())


def rules(**changes) -> MemoryRules:
    values = dict(
        num_maskmem=7,
        max_cond_frames=4,
        keep_first_cond_frame=False,
        stride=1,
        max_obj_ptrs=16,
    )
    return MemoryRules(**{**values, **changes})


def spatial(choice) -> list[tuple[int, int]]:
    return [(s.frame_idx, s.t_pos) for s in choice.spatial]


def pointers(choice) -> list[tuple[int, int]]:
    return [(p.frame_idx, p.position) for p in choice.pointers]


# frame, reverse, conditioning frames, tracked frames, rules -> (frame, t_pos) in order of tokens
SPATIAL = {
    "six frames before": (
        (10, False, [0], range(1, 10), {}),
        [(0, 0), (4, 1), (5, 2), (6, 3), (7, 4), (8, 5), (9, 6)],
    ),
    "frames after, in reverse": (
        (3, True, [9], range(4, 9), {}),
        [(9, 0), (8, 2), (7, 3), (6, 4), (5, 5), (4, 6)],
    ),
    "missing frames are passed over": (
        (10, False, [0], [5, 9], {}),
        [(0, 0), (5, 2), (9, 6)],
    ),
    "conditioning frames that were not selected stand in": (
        (10, False, [0, 2, 8, 9, 11, 12], [], {"max_cond_frames": 2}),
        [(9, 0), (11, 0), (8, 5)],
    ),
    "every second frame": (
        (10, False, [0], range(1, 10), {"num_maskmem": 4, "stride": 2}),
        [(0, 0), (6, 1), (8, 2), (9, 3)],
    ),
    "every third frame, in reverse": (
        (4, True, [14], range(5, 14), {"num_maskmem": 4, "stride": 3}),
        [(14, 0), (9, 1), (6, 2), (5, 3)],
    ),
    "conditioning frames alone": (
        (10, False, [0, 20], range(1, 10), {"num_maskmem": 1}),
        [(0, 0), (20, 0)],
    ),
}


@pytest.mark.parametrize(("given", "expected"), SPATIAL.values(), ids=SPATIAL)
def test_spatial_memories(given, expected):
    frame, reverse, cond, tracked, changes = given
    choice = choose_memories(frame, 30, reverse, cond, dict.fromkeys(tracked), rules(**changes))
    assert spatial(choice) == expected


# frame, reverse, conditioning frames, tracked frames, frames of the video, rules
POINTERS = {
    "conditioning frames by distance, then the newest first": (
        (4, False, [0], range(1, 4), 30, {}),
        [(0, 4), (3, 1), (2, 2), (1, 3)],
    ),
    "the future gives no pointer": ((4, False, [2, 8], [3], 30, {}), [(2, 2), (3, 1)]),
    "in reverse the past gives none": ((4, True, [2, 8], [5], 30, {}), [(8, 4), (5, 1)]),
    "a conditioning frame looks at itself": ((4, False, [4], [], 30, {}), [(4, 0)]),
    "no more than the limit": (
        (9, False, [0], range(1, 9), 30, {"max_obj_ptrs": 3}),
        [(0, 9), (8, 1), (7, 2)],
    ),
    "a short video limits them too": ((9, False, [0], range(1, 9), 3, {}), [(0, 9)]),
}


@pytest.mark.parametrize(("given", "expected"), POINTERS.values(), ids=POINTERS)
def test_pointers(given, expected):
    frame, reverse, cond, tracked, num_frames, changes = given
    choice = choose_memories(
        frame, num_frames, reverse, cond, dict.fromkeys(tracked), rules(**changes)
    )
    assert pointers(choice) == expected


def test_selection_takes_frames_by_worth():
    """Ranks count good frames; the oldest good frame gets no pointer."""
    scores = {1: 0.5, 2: 0.0, 3: 0.4, 4: 0.3, 5: 0.001, 6: None}
    choice = choose_memories(6, 30, False, [0], scores, rules(score_threshold=THRESHOLD))
    assert spatial(choice) == [(0, 0), (1, 3), (3, 4), (4, 5), (5, 6)]
    assert pointers(choice) == [(0, 6), (5, 1), (4, 2), (3, 3)]


def test_kept_first_conditioning_frame():
    choice = choose_memories(
        20, 30, False, [0, 8, 12, 16], {}, rules(max_cond_frames=2, keep_first_cond_frame=True)
    )
    assert [s.frame_idx for s in choice.spatial if s.t_pos == 0] == [0, 16]

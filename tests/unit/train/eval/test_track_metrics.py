"""Track metrics against numbers worked out by hand on a world of a few cells."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from sam3.train.eval.hota import ALPHAS, hota, pair_counts
from sam3.train.eval.track_metrics import (
    absent_rows,
    detection,
    detection_by_frame,
    entering,
    identity,
    leaving,
    rows,
    silence,
    summarise,
)
from sam3.train.eval.track_records import NOBODY, TrackRecord

CELLS = 4


def cell_mask(cell: int | None) -> np.ndarray:
    """Eight pixels of a 2 x 16 picture; nothing for None."""
    mask = np.zeros((2, 4 * CELLS), dtype=bool)
    if cell is not None:
        mask[:, 4 * cell : 4 * cell + 4] = True
    return mask


def world(
    truth: Sequence[Sequence[int | None]],
    tracks: Sequence[Mapping[int, int]],
    clear: Sequence[Sequence[bool]] | None = None,
    **more: object,
) -> TrackRecord:
    """truth: per frame the cell of each object; tracks: per frame, track id -> cell."""
    masks = np.array([[cell_mask(cell) for cell in frame] for frame in truth], dtype=bool)
    masks = masks.reshape(len(truth), len(truth[0]), 2, 4 * CELLS)
    seen = masks.any(axis=(2, 3)) if clear is None else np.array(clear, dtype=bool)
    outputs = [{i: cell_mask(cell) for i, cell in frame.items()} for frame in tracks]
    return TrackRecord.from_masks(outputs, masks, seen, **more)


def overlaps(ious: Sequence[Sequence[float]]) -> TrackRecord:
    """One object that is always there; per frame its IoU with each track, 0 = track absent."""
    values = np.array(ious, dtype=float)[..., None]
    there = np.ones((len(values), 1), dtype=bool)
    return TrackRecord(values, values[..., 0] > 0, there, there)


PERFECT = world([[0, 1]] * 4, [{7: 0, 9: 1}] * 4)
SWAPPED = world([[0, 1]] * 4, [{7: 0, 9: 1}] * 2 + [{9: 0, 7: 1}] * 2)
MISSED = world([[0, 1]] * 4, [{7: 0}] * 4)
FALSE_ALARM = world([[0]] * 4, [{7: 0, 8: 3}] * 4)
NOTHING = world([[0]] * 4, [{}] * 4)
ABSENT_QUIET = world([[]] * 3, [{}] * 3)
ABSENT_LOUD = world([[]] * 3, [{}, {1: 2}, {}], hard_negative=True)


def test_perfect_tracks() -> None:
    total = summarise([PERFECT])
    expected = ("recall", "recall_clear", "precision", "HOTA", "DetA", "AssA", "HOTA@0.5")
    assert all(total[name] == pytest.approx(1) for name in expected)
    assert total["matches"] == 8 and total["id_switches"] == 0 and total["id_switch_share"] == 0
    assert total["entered"] == total["left"] == 0 and math.isnan(total["entered_found"])
    assert PERFECT.matches.tolist() == [[0, 1]] * 4


def test_swapped_ids() -> None:
    found = identity([SWAPPED, PERFECT])
    assert found["id_switches"] == 2 and found["matches"] == 16
    assert found["id_switch_share"] == pytest.approx(2 / 16)
    assert found["switching_objects"] == pytest.approx(2 / 4)
    assert detection([SWAPPED]) == {"recall": 1, "recall_clear": 1, "precision": 1}
    score = hota([SWAPPED])  # each of the four pairs: 2 frames together, 6 that either is there
    assert score["DetA"] == pytest.approx(1) and score["AssA"] == pytest.approx(1 / 3)
    assert score["HOTA"] == pytest.approx(math.sqrt(1 / 3))


def test_a_gap_is_no_switch_but_another_track_after_it_is() -> None:
    same = world([[0]] * 3, [{4: 0}, {}, {4: 0}])
    other = world([[0]] * 3, [{4: 0}, {}, {5: 0}])
    assert identity([same])["id_switches"] == 0
    assert identity([other])["id_switches"] == 1 and identity([other])["id_switch_share"] == 1 / 2


def test_missed_objects_and_false_tracks() -> None:
    assert detection([MISSED]) == {"recall": 1 / 2, "recall_clear": 1 / 2, "precision": 1}
    assert detection([FALSE_ALARM])["precision"] == 1 / 2
    assert hota([MISSED])["DetA"] == pytest.approx(1 / 2) and hota([MISSED])["AssA"] == 1
    assert hota([FALSE_ALARM])["HOTA"] == pytest.approx(math.sqrt(1 / 2))
    nothing = summarise([NOTHING])
    assert nothing["recall"] == nothing["HOTA"] == 0 and math.isnan(nothing["id_switch_share"])
    assert math.isnan(nothing["precision"])


def test_recall_of_clearly_visible_objects() -> None:
    record = world([[0], [0], [0]], [{1: 0}, {}, {}], clear=[[True], [True], [False]])
    assert detection([record]) == {"recall": 1 / 3, "recall_clear": 1 / 2, "precision": 1}


def test_matches_need_half_of_the_pixels_and_are_one_to_one() -> None:
    values = np.array([[[0.49], [0.0]], [[0.6], [0.55]], [[0.5], [0.0]]])
    there = np.ones((3, 1), dtype=bool)
    record = TrackRecord(values, values[..., 0] > 0, there, there)
    assert record.matches.tolist() == [[NOBODY], [0], [0]]
    assert detection([record])["precision"] == pytest.approx(2 / 4)


def test_empty_masks_are_no_predictions() -> None:
    masks = np.zeros((1, 1, 2, 2), dtype=bool)
    masks[0, 0, 0] = True
    record = TrackRecord.from_masks(
        [{3: np.zeros((2, 2), dtype=bool), 5: masks[0, 0]}], masks, np.array([[True]])
    )
    assert record.predicted.tolist() == [[True]] and record.ious.tolist() == [[[1.0]]]


def test_numbers_by_frame() -> None:
    record = world([[0, 1], [0, None]], [{1: 0}, {1: 0, 2: 3}])
    curves = detection_by_frame([record, PERFECT_PAIR])
    assert curves["recall"] == [pytest.approx(3 / 4), 1]
    assert curves["precision"] == [1, pytest.approx(3 / 4)]


PERFECT_PAIR = world([[0, 1]] * 2, [{7: 0, 9: 1}] * 2)


def test_hota_counts_thresholds_up_to_the_iou() -> None:
    score = hota([overlaps([[0.625]] * 3)])  # passes 0.05 to 0.60: 12 of 19
    assert score["HOTA"] == score["DetA"] == score["AssA"] == pytest.approx(12 / 19)
    assert score["HOTA@0.5"] == 1 and len(ALPHAS) == 19


def test_hota_of_an_object_in_two_pieces() -> None:
    record = overlaps([[0.99, 0], [0.99, 0], [0, 0.99], [0, 0.99]])
    score = hota([record])
    assert score["DetA"] == 1 and score["AssA"] == pytest.approx(1 / 2)
    assert score["HOTA"] == pytest.approx(math.sqrt(1 / 2))


def test_hota_matches_for_association_first() -> None:
    # The second track fits better on one frame, the first is there on all of them.
    record = overlaps([[0.4, 0], [0.4, 0.5], [0.4, 0]])
    assert pair_counts(record, 0.3).tolist() == [[3], [0]]
    assert pair_counts(record, 0.45).tolist() == [[0], [1]]


def test_hota_matches_as_many_as_possible() -> None:
    ious = np.array([[[0.9, 0.6], [0.6, 0.0]]])
    there = np.ones((1, 2), dtype=bool)
    record = TrackRecord(ious, there, there, there)
    assert pair_counts(record, 0.5).tolist() == [[0, 1], [1, 0]]


def test_hota_pools_counts_over_sequences() -> None:
    score = hota([PERFECT, SWAPPED, NOTHING])
    assert score["DetA"] == pytest.approx(16 / 20)
    assert score["AssA"] == pytest.approx((8 * 1 + 8 / 3) / 16)
    assert math.isnan(hota([ABSENT_QUIET])["HOTA"])


@pytest.mark.parametrize(("first_match", "found"), [(2, 1), (3, 1), (6, 1), (7, 0)])
def test_objects_that_enter(first_match: int, found: int) -> None:
    truth = [[None], [None], *[[1]] * 7]
    clear = [[t >= 3] for t in range(9)]
    tracks = [{} if t < first_match else {2: 1} for t in range(9)]
    late = world(truth, tracks, clear)
    assert entering([late, PERFECT]) == {"entered": 1, "entered_found": found}


def test_slivers_do_not_enter() -> None:
    record = world([[None], [1], [1]], [{}] * 3, clear=[[False]] * 3)
    assert entering([record])["entered"] == 0


@pytest.mark.parametrize(
    ("shown_until", "dropped", "at_end", "clean"), [(3, 1, 1, 1), (4, 0, 1, 2 / 3), (6, 0, 0, 0)]
)
def test_objects_that_leave(shown_until: int, dropped: int, at_end: int, clean: float) -> None:
    truth = [[0], [0], [0], *[[None]] * 3]
    tracks = [{5: 0 if t < 3 else 2} if t < shown_until else {} for t in range(6)]
    assert leaving([world(truth, tracks), PERFECT]) == {
        "left": 1,
        "left_dropped": dropped,
        "left_dropped_at_end": at_end,
        "left_frames_clean": pytest.approx(clean),
    }


def test_a_track_that_went_over_to_another_object_is_not_held_against_the_one_that_left() -> None:
    truth = [[0, 1], [0, 1], [None, 1], [None, 1]]
    tracks = [{5: 0, 6: 1}, {5: 0, 6: 1}, {5: 1}, {5: 1}]
    record = world(truth, tracks)
    assert leaving([record])["left_dropped"] == 1
    assert identity([record])["id_switches"] == 1
    lingering = world(truth, [*tracks[:2], {5: 3, 6: 1}, {6: 1}])
    assert leaving([lingering])["left_dropped"] == 0
    assert leaving([lingering])["left_dropped_at_end"] == 1


def test_objects_never_found_or_back_again_do_not_count_as_left() -> None:
    never = world([[0], [0], [None]], [{}] * 3)
    back = world([[0], [None], [0]], [{1: 0}, {}, {1: 0}])
    assert leaving([never, back])["left"] == 0


def test_silence_and_rows() -> None:
    records = [PERFECT, MISSED, ABSENT_QUIET, ABSENT_LOUD]
    assert silence([ABSENT_QUIET, ABSENT_LOUD]) == {"phrases": 2, "silent": 1 / 2}
    absent = absent_rows(records)
    assert absent["absent"]["phrases"] == 2 and absent["one attribute wrong"]["silent"] == 0
    assert absent["other"]["silent"] == 1 and absent_rows([PERFECT]) == {}
    found = rows(records)
    assert list(found) == ["all", "several objects", "full"] and found["all"]["phrases"] == 2
    assert rows([ABSENT_QUIET]) == {}


def test_shapes_are_checked() -> None:
    there = np.ones((2, 1), dtype=bool)
    with pytest.raises(ValueError, match=r"\[frames, tracks, objects\] = \(2, 1, 1\)"):
        TrackRecord(np.zeros((2, 2, 1)), there, there, there)

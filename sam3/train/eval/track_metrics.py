"""How well the objects that phrases name are found and kept apart, as pure numpy functions.

A track and an object match on a frame where their masks have an IoU of at least 0.5, one to one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from .hota import hota
from .track_records import NOBODY, TrackRecord

FOUND_WITHIN = 3  # frames after a late object is first clearly visible


def identity(records: Sequence[TrackRecord]) -> dict[str, float]:
    """Id switches: an object's track differs from the one it was matched to last.

    ``id_switch_share``: of all matches; ``switching_objects``: share of the matched objects that
    have at least one.
    """
    switches: list[int] = []
    matches = 0
    for record in records:
        for ids in record.matches.T:
            ids = ids[ids != NOBODY]
            matches += len(ids)
            if len(ids):
                switches.append(int((ids[1:] != ids[:-1]).sum()))
    return {
        "matches": float(matches),
        "id_switches": float(sum(switches)),
        "id_switch_share": _share(sum(switches), matches),
        "switching_objects": _share(sum(s > 0 for s in switches), len(switches)),
    }


def detection(records: Sequence[TrackRecord]) -> dict[str, float]:
    """Recall over visible and over clearly visible objects, precision over tracks, per frame."""
    matched = sum(int((r.matches != NOBODY).sum()) for r in records)
    visible = sum(int(r.visible.sum()) for r in records)
    clear = sum(int(r.clear.sum()) for r in records)
    matched_clear = sum(int(((r.matches != NOBODY) & r.clear).sum()) for r in records)
    return {
        "recall": _share(matched, visible),
        "recall_clear": _share(matched_clear, clear),
        "precision": _share(matched, sum(int(r.predicted.sum()) for r in records)),
    }


def detection_by_frame(records: Sequence[TrackRecord]) -> dict[str, list[float]]:
    """``recall`` and ``precision`` of every frame, over clips of one length."""
    matched = sum((r.matches != NOBODY).sum(axis=1) for r in records)
    visible = sum(r.visible.sum(axis=1) for r in records)
    predicted = sum(r.predicted.sum(axis=1) for r in records)
    return {
        "recall": [_share(m, v) for m, v in zip(matched, visible, strict=True)],
        "precision": [_share(m, p) for m, p in zip(matched, predicted, strict=True)],
    }


def entering(records: Sequence[TrackRecord]) -> dict[str, float]:
    """Objects not to be seen on frame 0 and clearly visible later.

    ``entered_found``: share with a match on any frame up to 3 frames after the first clear one. A
    clip that ends before is no excuse.
    """
    found: list[bool] = []
    for record in records:
        for visible, clear, ids in zip(
            record.visible.T, record.clear.T, record.matches.T, strict=True
        ):
            if visible[0] or not clear.any():
                continue
            until = int(clear.argmax()) + FOUND_WITHIN
            found.append(bool((ids[: until + 1] != NOBODY).any()))
    return {"entered": float(len(found)), "entered_found": _share(sum(found), len(found))}


def leaving(records: Sequence[TrackRecord]) -> dict[str, float]:
    """Objects that were matched at least once, and from some frame on are not to be seen.

    ``left_dropped``: share whose tracks show no pixel after that, on no frame;
    ``left_dropped_at_end``: on the last frame; ``left_frames_clean``: share of those frames without
    such a pixel. An object's tracks are all that ever matched it; where one matches another object,
    it counts as that one's.
    """
    dropped: list[bool] = []
    at_end: list[bool] = []
    clean: list[np.ndarray] = []
    for record in records:
        for column, (visible, ids) in enumerate(
            zip(record.visible.T, record.matches.T, strict=True)
        ):
            own = np.unique(ids[ids != NOBODY])
            if visible[-1] or not len(own):
                continue
            gone = int(np.flatnonzero(visible)[-1]) + 1
            others = np.delete(record.matches[gone:], column, axis=1)
            elsewhere = (others[:, None, :] == own[None, :, None]).any(axis=2)
            shown = (record.predicted[gone:, own] & ~elsewhere).any(axis=1)
            dropped.append(not shown.any())
            at_end.append(not shown[-1])
            clean.append(~shown)
    return {
        "left": float(len(dropped)),
        "left_dropped": _share(sum(dropped), len(dropped)),
        "left_dropped_at_end": _share(sum(at_end), len(at_end)),
        "left_frames_clean": float(np.concatenate(clean).mean()) if clean else float("nan"),
    }


def silence(records: Sequence[TrackRecord]) -> dict[str, float]:
    """``silent``: share of phrases without any output on any frame."""
    quiet = [not r.predicted.any() for r in records]
    return {"phrases": float(len(quiet)), "silent": _share(sum(quiet), len(quiet))}


def summarise(records: Sequence[TrackRecord]) -> dict[str, float]:
    """Every number of this module for phrases that name something."""
    return {
        **silence(records),
        "objects": float(sum(r.visible.shape[1] for r in records)),
        **identity(records),
        **detection(records),
        **hota(records),
        **entering(records),
        **leaving(records),
    }


_ROWS: Mapping[str, Callable[[TrackRecord], bool]] = {
    "all": lambda r: True,
    "one object": lambda r: r.visible.shape[1] == 1,
    "several objects": lambda r: r.visible.shape[1] > 1,
    "full": lambda r: r.kind == "full",
    "shape only": lambda r: r.kind == "shape",
    "colour only": lambda r: r.kind == "colour",
    "any object": lambda r: r.kind == "any",
    "patterned": lambda r: r.kind == "patterned",
}
_ABSENT_ROWS: Mapping[str, Callable[[TrackRecord], bool]] = {
    "absent": lambda r: True,
    "one attribute wrong": lambda r: r.hard_negative,
    "other": lambda r: not r.hard_negative,
}


def rows(records: Sequence[TrackRecord]) -> dict[str, dict[str, float]]:
    """One summary per kind of phrase that names something; kinds without any are left out."""
    present = [r for r in records if r.visible.shape[1]]
    chosen = {name: [r for r in present if test(r)] for name, test in _ROWS.items()}
    return {name: summarise(part) for name, part in chosen.items() if part}


def absent_rows(records: Sequence[TrackRecord]) -> dict[str, dict[str, float]]:
    """:func:`silence` of phrases that name nothing in their clip; empty kinds are left out."""
    absent = [r for r in records if not r.visible.shape[1]]
    chosen = {name: [r for r in absent if test(r)] for name, test in _ABSENT_ROWS.items()}
    return {name: silence(part) for name, part in chosen.items() if part}


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")

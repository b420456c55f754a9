"""Matching of detections and tracks: goldens, brute force, empty sides, bad input."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sam3.errors import InputError
from sam3.perflib.associate_det_trk import associate_det_trk
from sam3.perflib.masks_ops import mask_iou

GOLDEN = json.loads(
    (Path(__file__).parents[2] / "golden" / "video" / "logic.json").read_text(encoding="utf-8")
)["associate_perflib"]


def draw(box_lists: list[list[list[int]]], size: int = 32) -> torch.Tensor:
    """Lists of xyxy boxes (end exclusive), one list per mask -> logits of +6 and -6."""
    logits = torch.full((len(box_lists), size, size), -6.0)
    for mask, boxes in zip(logits, box_lists, strict=True):
        for x0, y0, x1, y1 in boxes:
            mask[y0:y1, x0:x1] = 6
    return logits


@pytest.mark.parametrize("as_bool", [False, True])
@pytest.mark.parametrize("case", GOLDEN)
def test_golden(case, as_bool):
    det, trk = draw(case["det"]), draw(case["trk"])
    if as_bool:
        det, trk = det > 0, trk > 0
    # The thresholds of the released video model.
    new, unmatched, det_to_trk, scores = associate_det_trk(
        det, trk, 0.1, 0.5, det_scores=torch.tensor(case["scores"]), new_det_thresh=0.7
    )
    out = case["out"]
    assert new == out["new_det"] and unmatched == out["unmatched_trk"]
    assert det_to_trk == {int(k): v for k, v in out["det_to_trk"].items()}
    assert scores.keys() == {int(k) for k in out["matched_scores"]}
    for track, values in out["matched_scores"].items():
        assert scores[int(track)] == pytest.approx(values, abs=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_random_masks_equal_brute_force(seed):
    generator = torch.Generator().manual_seed(seed)
    det, trk = (torch.rand(n, 6, 6, generator=generator) < 0.5 for n in (3 + seed % 2, 4))
    det_scores = torch.rand(len(det), generator=generator)
    ious = mask_iou(det, trk).numpy()
    new, unmatched, det_to_trk, scores = associate_det_trk(det, trk, 0.3, 0.35, det_scores, 0.4)
    best = max(
        itertools.permutations(range(4), len(det)),
        key=lambda order: sum(ious[d, t] for d, t in enumerate(order)),
    )
    total = sum(ious[d, t] for d, t in enumerate(best))
    assert sum(values[1] / values[0] for values in scores.values()) == pytest.approx(total)
    assert new == [
        d for d in range(len(det)) if det_scores[d] >= 0.4 and (ious[d] < np.float32(0.3)).all()
    ]
    pairs = {(d, t) for d, ts in det_to_trk.items() for t in ts}
    assert pairs == set(zip(*(ious >= np.float32(0.3)).nonzero(), strict=True))
    assert unmatched == [t for t in range(4) if _ratio(scores.get(t)) < 0.35]


def _ratio(values: list[float] | None) -> float:
    return values[1] / values[0] if values else 0.0


def test_without_scores_nothing_is_new():
    det = draw([[[0, 0, 4, 4]], [[20, 20, 30, 30]]])
    assert associate_det_trk(det, det[:1]) == ([], [], {0: [0]}, {})


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 3), (2, 0)])
def test_an_empty_side(n, m):
    result = associate_det_trk(torch.zeros(n, 4, 4), torch.zeros(m, 4, 4), det_scores=torch.ones(n))
    assert result == (list(range(n)), [], {}, {})


@pytest.mark.parametrize(
    ("det", "trk", "scores", "message"),
    [
        ((2, 4, 4), (2, 4, 5), (2,), "one size"),
        ((2, 1, 4, 4), (2, 4, 4), (2,), "one size"),
        ((2, 4, 4), (2, 4, 4), (3,), "as many scores"),
    ],
)
def test_bad_input(det, trk, scores, message):
    with pytest.raises(InputError, match=message):
        associate_det_trk(torch.zeros(det), torch.zeros(trk), det_scores=torch.zeros(scores))

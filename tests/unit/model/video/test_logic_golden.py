"""The decisions of one frame against recorded values: association, removal, confirmation."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from sam3.config.video import AssociationConfig, ReconditionConfig, VideoRules
from sam3.model.sam3_video_base import Sam3VideoBase
from sam3.model.video.associate import associate, pairwise_iou
from sam3.model.video.confirm import update_confirmation
from sam3.model.video.hotstart import process_hotstart
from sam3.model.video.metadata import Confirmation, Rank0Metadata
from sam3.model.video.plan import assign_gpus, best_new
from sam3.model.video.suppress import away_from_border, recently_occluded
from tests.support import golden
from tests.support.golden_video import rect_logits

CASES = json.loads((golden.FOLDER / "video" / "logic.json").read_text())
RELEASED = VideoRules().keywords()


def each(name):
    return pytest.mark.parametrize("case", CASES[name])


@each("associate")
def test_associate(case):
    det = rect_logits(case["size_det"], case["det"])
    trk = rect_logits(case["size_trk"], case["trk"])
    model = Sam3VideoBase(torch.nn.Identity(), torch.nn.Identity(), **case["cfg"])
    scores = np.array(case["scores"], np.float32)
    new, unmatched, matches, high_conf, empty = model._associate_det_trk(
        det, scores, trk, case["ids"]
    )
    out = case["out"]
    assert new == out["new_det"]
    assert unmatched == out["unmatched_trk"]
    assert matches == {int(k): v for k, v in out["det_to_trk"].items()}
    assert high_conf == {int(k): v for k, v in out["high_conf"].items()}
    assert empty == out["empty_trk"]


@each("recent_occlusion")
def test_recent_occlusion(case):
    masks = rect_logits(32, case["masks"])
    hidden = recently_occluded(masks, np.array(case["last_occluded"]), 0.7, reverse=case["reverse"])
    assert hidden.tolist() == case["suppress"]


def test_boundary():
    case = CASES["boundary"]
    assert away_from_border(np.array(case["boxes"], np.float32)).tolist() == case["keep"]


@each("assign_gpus")
def test_assign_gpus(case):
    assert assign_gpus(case["n"], case["load"]) == case["out"]


@each("drop_new")
def test_best_new(case):
    assert best_new(case["inds"], np.array(case["scores"]), case["keep"]) == case["out"]


@each("hotstart")
def test_hotstart(case):
    rules = VideoRules.from_keywords({**RELEASED, **case["cfg"]}).hotstart
    notes = Rank0Metadata()
    for step in case["steps"]:
        before = notes.copy()
        given, frame = step["in"], step["frame"]
        notes = before.copy()
        removed = process_hotstart(
            notes,
            rules,
            frame,
            reverse=case["reverse"],
            new_ids=given.get("new", []),
            det_to_ids={int(k): v for k, v in given.get("match", {}).items()},
            unmatched_ids=given.get("unmatched", []),
            empty_ids=given.get("empty", []),
        )
        assert sorted(removed) == step["removed_now"]
        assert {str(k): v for k, v in notes.trk_keep_alive.items()} == step["keep_alive"]
        assert sorted(notes.suppressed_obj_ids.get(frame, ())) == step["suppressed"]
        assert sorted(notes.removed_obj_ids) == step["removed_all"]
        assert frame not in before.suppressed_obj_ids  # the copy that was left alone


@each("confirmation")
def test_confirmation(case):
    confirmation, ids = Confirmation(), []
    for step in case:
        matches = {int(k): v for k, v in step["match"].items()}
        confirmation = update_confirmation(
            confirmation, ids, step["ids"], step["new"], matches, threshold=3
        )
        ids = step["ids"]
        assert confirmation.status.tolist() == step["status"]
        assert confirmation.consecutive_det_num.tolist() == step["consecutive"]


def test_nothing_meets_nothing():
    ious, has_pixels = pairwise_iou(torch.zeros(0, 8, 8), torch.zeros(0, 8, 8))
    found = associate(ious, np.zeros(0), has_pixels, [], AssociationConfig(), ReconditionConfig())
    assert found.new_dets == found.unmatched_ids == found.empty_ids == []

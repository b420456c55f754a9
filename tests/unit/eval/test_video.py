"""Video predictions: rows of the writer, track AP, video cgF1, pHOTA and suppression."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sam3.errors import InputError, MissingDependencyError
from sam3.eval.postprocessors import PostProcessNullOp
from sam3.eval.rle import rle_decode, rle_encode
from sam3.eval.veval.__main__ import main
from sam3.eval.veval.evaluator import VEvalEvaluator
from sam3.eval.veval.hota import phrase_hota
from sam3.eval.veval.nms import frame_nms, track_nms
from sam3.eval.veval.overlap import track_ious
from sam3.eval.veval.pairs import Pair, Track, load_pairs
from sam3.eval.ytvis_eval import YTVISResultsWriter
from tests.support.eval_batches import dump_videos, video_result

SIZE = (10, 20)
Span = tuple[int, int] | None


def codes(spans: list[Span]) -> list[dict | None]:
    """Frames of SIZE in which columns ``start`` to ``stop`` are covered."""
    frames = torch.zeros(len(spans), *SIZE, dtype=torch.bool)
    for frame, span in zip(frames, spans, strict=True):
        if span is not None:
            frame[:, span[0] : span[1]] = True
    encoded = rle_encode(frames)
    return [code if span is not None else None for code, span in zip(encoded, spans, strict=True)]


def track(*spans: Span, score: float = 1.0) -> Track:
    return Track(codes(list(spans)), score)


def write(folder: Path, name: str, value: Any) -> Path:
    path = folder / name
    path.write_text(json.dumps(value))
    return path


def veval_file(truths: dict[tuple[int, int], list[Track]], frames: int = 2) -> dict[str, Any]:
    """A VEval file; truths by (video, category), also of pairs without objects."""
    return {
        "videos": [
            {
                "id": v,
                "file_names": [f"{v}/{i}.jpg" for i in range(frames)],
                "height": SIZE[0],
                "width": SIZE[1],
            }
            for v in sorted({video for video, _ in truths})
        ],
        "categories": [{"id": c, "name": f"c{c}"} for c in sorted({c for _, c in truths})],
        "video_np_pairs": [
            {"id": i, "video_id": v, "category_id": c, "noun_phrase": f"c{c}"}
            for i, (v, c) in enumerate(truths)
        ],
        "annotations": [
            {"id": i, "video_id": v, "category_id": c, "segmentations": list(t.masks)}
            for i, ((v, c), t) in enumerate((key, t) for key, ts in truths.items() for t in ts)
        ],
    }


def rows_of(found: dict[tuple[int, int], list[Track]]) -> list[dict[str, Any]]:
    return [
        {"video_id": v, "category_id": c, "score": t.score, "segmentations": list(t.masks)}
        for (v, c), tracks in found.items()
        for t in tracks
    ]


def evaluate(
    folder: Path, truths: dict, found: dict, **options: Any
) -> tuple[dict[str, float], list[Pair]]:
    gt = write(folder, "gt.json", veval_file(truths))
    pred = write(folder, "pred.json", rows_of(found))
    metrics = VEvalEvaluator(gt, **options).evaluate(pred)
    return metrics, load_pairs(gt, pred)


def test_rows_of_a_video(tmp_path: Path) -> None:
    writer = YTVISResultsWriter(tmp_path / "deep" / "preds.json", PostProcessNullOp())
    writer.update(find_stages=video_result(3), find_metadatas=[], model=None, batch=None, key="k")
    assert writer.compute_synced() == {}
    first, second = json.loads((tmp_path / "deep" / "preds.json").read_text())
    assert set(first) == {"video_id", "category_id", "score", "bboxes", "segmentations", "areas"}
    assert (first["video_id"], first["category_id"], second["category_id"]) == (3, 4, 6)
    assert first["score"] == pytest.approx(0.9)
    assert first["bboxes"][0] == pytest.approx([1.0, 2.0, 2.0, 2.0])  # of 10 x 8 pixels
    assert first["areas"] == [10] * 3 and rle_decode(first["segmentations"][0]).sum() == 10
    for name in ("bboxes", "segmentations", "areas"):
        assert len(second[name]) == 3 and second[name][0] is None
    writer.reset()
    writer.compute_synced()
    assert json.loads((tmp_path / "deep" / "preds.json").read_text()) == []


def test_a_mask_without_pixels_counts_as_not_seen(tmp_path: Path) -> None:
    result = video_result(3)
    result[3]["masks_rle"][0][1] = {"size": [8, 10], "counts": [80]}
    writer = YTVISResultsWriter(tmp_path / "preds.json", PostProcessNullOp())
    writer.update(find_stages=result, find_metadatas=[])
    writer.compute_synced()
    first = json.loads((tmp_path / "preds.json").read_text())[0]
    assert [first[k][1] for k in ("bboxes", "segmentations", "areas")] == [None] * 3


def test_a_written_file_can_be_evaluated(tmp_path: Path) -> None:
    dump_videos(tmp_path, [1], by_files=False)
    rows = json.loads((tmp_path / "preds.json").read_text())
    truths = [row | {"id": i} for i, row in enumerate(rows)]
    gt = {
        "videos": [{"id": 1, "file_names": ["a", "b", "c"], "height": 8, "width": 10}],
        "annotations": truths,
        "video_np_pairs": [{"video_id": 1, "category_id": c} for c in (4, 6)],
    }
    metrics = VEvalEvaluator(write(tmp_path, "gt.json", gt)).evaluate(tmp_path / "preds.json")
    assert metrics["video_AP"] == pytest.approx(1.0)
    assert metrics["video_recall"] == pytest.approx(0.5, abs=1e-3)  # one of them scores 0.4


def test_iou_of_tracks_counts_all_frames() -> None:
    truths = [track((0, 10), (0, 10)), track(None, None)]
    found = [track((0, 10), None), track((0, 5), (0, 10)), track((10, 20), (10, 20))]
    ious = track_ious(found, truths, 2)
    np.testing.assert_allclose(ious, [[0.5, 0.0], [0.75, 0.0], [0.0, 0.0]])
    assert track_ious(found, [], 2).shape == (3, 0)


def test_right_tracks_are_perfect(tmp_path: Path) -> None:
    truths = {(1, 4): [track((0, 5), (1, 6)), track((10, 15), None)], (1, 6): []}
    metrics, _ = evaluate(tmp_path, truths, {(1, 4): truths[1, 4]})
    assert metrics["video_AP"] == pytest.approx(1.0)
    assert metrics["video_cgF1"] == pytest.approx(1.0, abs=1e-3)
    assert metrics["video_IL_MCC"] == pytest.approx(1.0, abs=1e-5)


def test_wrong_phrases_and_half_tracks(tmp_path: Path) -> None:
    truths = {(1, 4): [track((0, 10), (0, 10))], (2, 4): [], (2, 6): []}
    found = {
        (1, 4): [track((0, 10), None, score=0.9)],  # IoU 0.5
        (2, 4): [track((0, 10), None, score=0.6)],
        (9, 9): [track((0, 10), None)],  # not asked
    }
    metrics, pairs = evaluate(tmp_path, truths, found)
    assert [len(pair.found) for pair in pairs] == [1, 1, 0]
    assert metrics["video_AP50"] == pytest.approx(1.0)
    assert metrics["video_AP75"] == 0.0
    assert metrics["video_positive_micro_F1@0.5"] == pytest.approx(1.0, abs=1e-3)
    assert metrics["video_precision@0.5"] == pytest.approx(0.5, abs=1e-3)
    assert metrics["video_IL_MCC"] == pytest.approx(0.5, abs=1e-5)


def test_nothing_found(tmp_path: Path) -> None:
    metrics, _ = evaluate(tmp_path, {(1, 4): [track((0, 5), (1, 6))]}, {})
    assert metrics["video_AP"] == 0.0 and metrics["video_cgF1"] == 0.0


def test_suppression_of_tracks_and_frames() -> None:
    best, copy = track((0, 10), (0, 10), score=0.9), track((0, 10), (0, 9), score=0.8)
    partly = track((0, 10), (10, 20), score=0.7)
    pair = Pair(1, 4, 2, (), (copy, partly, best))
    assert track_nms(pair, 0.5).found == (best, partly)
    kept = frame_nms(pair, 0.5).found
    assert [t.score for t in kept] == [0.9, 0.7]
    assert kept[0].masks == best.masks
    assert kept[1].masks == [None, partly.masks[1]]
    assert track_nms(Pair(1, 4, 2, (), ()), 0.5).found == ()


def test_evaluator_suppresses_first(tmp_path: Path) -> None:
    truths = {(1, 4): [track((0, 10), (0, 10))]}
    found = {(1, 4): [track((0, 10), (0, 10)), track((0, 10), (0, 9), score=0.8)]}
    plain, _ = evaluate(tmp_path, truths, found)
    once, _ = evaluate(tmp_path, truths, found, track_nms_threshold=0.5, frame_nms_threshold=0.5)
    assert plain["video_precision@0.5"] == pytest.approx(0.5, abs=1e-3)
    assert once["video_precision@0.5"] == pytest.approx(1.0, abs=1e-3)


def test_phota_by_hand() -> None:
    pytest.importorskip("trackeval", reason="trackeval is not installed")
    right = Pair(1, 4, 2, (track((0, 10), (0, 10)),), (track((0, 10), (0, 10)),))
    assert phrase_hota([right])["pHOTA"] == pytest.approx(1.0)
    # The track is cut in two: every detection is right, half of each association.
    cut = Pair(2, 4, 2, right.truths, (track((0, 10), None), track(None, (0, 10))))
    halves = phrase_hota([cut])
    assert halves["pDetA"] == pytest.approx(1.0)
    assert halves["pAssA"] == pytest.approx(0.5)
    assert halves["pHOTA"] == pytest.approx(0.5**0.5)
    # Pairs keep apart although ids repeat; a low score does not count; nothing asked, nothing said.
    low = Pair(2, 6, 2, (), (track((0, 10), (0, 10), score=0.49),))
    both = phrase_hota([right, cut, low, Pair(3, 6, 2, (), ())])
    assert both["pDetA"] == pytest.approx(1.0)
    assert both["pAssA"] == pytest.approx(0.75)
    assert both["HOTA"] == pytest.approx(both["pHOTA"])  # one phrase has objects
    wrong = phrase_hota([right, Pair(2, 6, 2, (), (track((0, 10), (0, 10)),))])
    assert wrong["pDetPr"] == wrong["pDetA"] == pytest.approx(0.5)
    assert wrong["HOTA"] == pytest.approx(0.5)  # the mean of a perfect phrase and a wrong one
    assert phrase_hota([]) == {}


def test_without_trackeval_the_rest_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "trackeval", None)
    monkeypatch.setitem(sys.modules, "trackeval.metrics", None)
    truths = {(1, 4): [track((0, 5), (1, 6))]}
    with caplog.at_level(logging.WARNING):
        metrics, pairs = evaluate(tmp_path, truths, truths)
    assert not any("HOTA" in name for name in metrics) and metrics["video_AP"] == pytest.approx(1.0)
    assert "pip install trackeval" in caplog.text
    with pytest.raises(MissingDependencyError, match="pip install trackeval"):
        phrase_hota(pairs)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truths = {(1, 4): [track((0, 5), (1, 6))]}
    gt = write(tmp_path, "gt.json", veval_file(truths))
    pred = write(tmp_path, "pred.json", rows_of(truths))
    out = tmp_path / "metrics.json"
    assert main(["--gt", str(gt), "--pred", str(pred), "--out", str(out)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(out.read_text()) and printed["video_AP"] == pytest.approx(1.0)
    assert main(["--gt", str(gt), "--pred", str(tmp_path / "missing.json")]) == 1


def test_refusals(tmp_path: Path) -> None:
    truths = {(1, 4): [track((0, 5), (1, 6))]}
    with pytest.raises(InputError, match="1 frames, the video has 2"):
        evaluate(tmp_path, truths, {(1, 4): [track((0, 5))]})
    small = Track([{"size": [4, 4], "counts": [0, 16]}, None])
    with pytest.raises(InputError, match="4 x 4 pixels, the video is 10 x 20"):
        evaluate(tmp_path, truths, {(1, 4): [small]})

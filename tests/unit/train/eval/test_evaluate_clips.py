"""The clip evaluation with models that know the answers, and once with a real, untrained one."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sam3.checkpoint.save import save_checkpoint
from sam3.config import presets
from sam3.model_builder import build_sam3_video_model
from sam3.train.data.scenes.clips import Clip
from sam3.train.data.scenes.vocabulary import parse
from sam3.train.eval.clip_plan import plan_clip
from sam3.train.eval.clip_report import to_markdown
from sam3.train.eval.clip_runs import run_phrases, run_prompts
from sam3.train.eval.evaluate_clips import ClipSettings, _parser, evaluate, main
from sam3.train.eval.report_parts import write_files

SETTINGS = ClipSettings(clips=6, frames=5, text_frames=(5, 6), seed=4, max_side=110)


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return [
        plan_clip(SETTINGS.seed, index, frames, SETTINGS.max_side)
        for frames in (5, 6)
        for index in range(SETTINGS.clips)
    ]


class KnowingTracker:
    """Knows every clip by its pixels; follows whatever lies under the prompt."""

    def __init__(self, clips: list[Clip], frozen: bool = False) -> None:
        self.clips = {clip.images.tobytes(): clip for clip in clips}
        self.frozen = frozen  # shows every frame the masks of frame 0
        self.kinds: list[str] = []

    def init_state(self, video_path: list[Any]) -> dict[str, Any]:
        return {"clip": self.clips[np.stack([np.asarray(p) for p in video_path]).tobytes()]}

    def reset(self, state: dict[str, Any]) -> None:
        state["objects"] = {}

    def add_new_points_or_box(self, state, frame_idx, obj_id, points=None, labels=None, box=None):
        assert frame_idx == 0 and (labels == [1]) == (points is not None)
        self.kinds.append("click" if box is None else "box")
        x, y = points[0] if box is None else ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        labels_0 = state["clip"].labels[0]
        found = labels_0[int(y * labels_0.shape[0]), int(x * labels_0.shape[1])]
        state["objects"][obj_id] = int(found) - 1 if box is None else obj_id

    def add_new_mask(self, state, frame_idx, obj_id, mask):
        self.kinds.append("mask")
        state["objects"][obj_id] = int(state["clip"].labels[0][mask][0]) - 1

    def propagate_in_video(self, state: dict[str, Any], **how: Any) -> Iterator[tuple]:
        assert how["start_frame_idx"] == 0 and how["propagate_preflight"]
        objects, masks = state["objects"], state["clip"].masks
        for t in range(len(masks)):
            logits = np.where(masks[0 if self.frozen else t][list(objects.values())], 9.0, -9.0)
            video = torch.from_numpy(logits)[:, None]
            yield t, list(objects), video[..., ::4, ::4], video, torch.ones(len(objects), 1)


class KnowingPredictor:
    """Finds what a phrase names; ``fault``: "silent", "swap" (ids change on frame 2), "sticky"."""

    def __init__(self, clips: list[Clip], fault: str = "") -> None:
        self.clips = {clip.images.tobytes(): clip for clip in clips}
        self.fault, self.open = fault, {}

    def handle_request(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["type"] == "start_session":
            pixels = np.stack([np.asarray(p) for p in request["resource_path"]]).tobytes()
            self.open["s"] = {"clip": self.clips[pixels]}
            return {"session_id": "s"}
        if request["type"] == "close_session":
            return {"is_success": bool(self.open.pop(request["session_id"]))}
        assert request["type"] == "add_prompt" and request["frame_index"] == 0
        self.open[request["session_id"]]["text"] = request["text"]
        return {}

    def handle_stream_request(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        assert request["type"] == "propagate_in_video"
        session = self.open[request["session_id"]]
        clip = session["clip"]
        wanted = np.flatnonzero(parse(session["text"]).matches(clip.attributes))
        wanted = wanted[:0] if self.fault == "silent" else wanted
        for t in range(len(clip.images)):
            masks = clip.masks[t][wanted]
            if self.fault == "sticky":
                masks = (
                    masks | clip.masks[:t, wanted].any(axis=0) & ~masks.any((1, 2))[:, None, None]
                )
            ids = wanted + 10 * (self.fault == "swap" and t >= 2)
            outputs = {"out_obj_ids": ids, "out_binary_masks": masks}
            yield {"frame_index": t, "outputs": outputs}


def test_models_that_know_everything_score_one(clips: list[Clip]) -> None:
    tracker, predictor = KnowingTracker(clips), KnowingPredictor(clips)
    report = evaluate(tracker, predictor, SETTINGS)
    for name in ("one click", "box", "true mask"):
        assert report["prompts"]["rows"][name]["J"] == 1, name
    assert report["prompts"]["by_frame"]["box"] == [1] * 5
    assert tracker.kinds.count("click") == tracker.kinds.count("mask") > SETTINGS.clips
    for frames in ("5", "6"):
        part = report["text"][frames]
        total = part["rows"]["all"]
        for key in ("recall", "precision", "HOTA"):
            assert total[key] == pytest.approx(1), key
        assert total["id_switches"] == 0 and part["absent"]["absent"]["silent"] == 1
        assert part["by_frame"]["recall"] == [1] * int(frames)
        assert total["entered"] > 0 and total["entered_found"] == 1
        assert total["left"] > 0 and total["left_dropped"] == 1
    assert not predictor.open  # every session was closed
    assert set(report["seconds"]) == {"prompts", "text, 5 frames", "text, 6 frames", "all"}


def test_a_tracker_that_does_not_follow(clips: list[Clip]) -> None:
    records = [r for clip in clips for r in run_prompts(KnowingTracker(clips, frozen=True), clip)]
    assert all(r.j[0] == 1 for r in records)
    assert all(r.j[t] == 0 for r in records for t in np.flatnonzero(~r.visible))
    assert any(not r.visible.all() for r in records)
    assert 0 < np.mean([r.j[-1] for r in records]) < 0.8


def test_tracks_that_change_their_ids(clips: list[Clip]) -> None:
    predictor = KnowingPredictor(clips, "swap")
    for clip in clips:
        for record in run_phrases(predictor, clip):
            seen = record.visible[:2].any(axis=0) & record.visible[2:].any(axis=0)
            tracks = [set(ids[ids >= 0]) for ids in record.matches.T]
            assert [len(ids) == 2 for ids in tracks] == seen.tolist()


def test_silence_and_tracks_that_stay(clips: list[Clip]) -> None:
    silent = evaluate(KnowingTracker(clips), KnowingPredictor(clips, "silent"), SETTINGS)
    total = silent["text"]["6"]["rows"]["all"]
    assert total["recall"] == total["HOTA"] == total["entered_found"] == 0
    sticky = evaluate(KnowingTracker(clips), KnowingPredictor(clips, "sticky"), SETTINGS)
    total = sticky["text"]["6"]["rows"]["all"]
    assert total["left_dropped"] == 0 and total["recall"] == 1 and total["precision"] < 1


def test_settings_are_checked() -> None:
    for bad in ({"clips": 0}, {"frames": 1}, {"text_frames": (8, 1)}, {"max_side": 64}):
        with pytest.raises(ValueError, match="at least 1 clip of 2 frames"):
            ClipSettings(**bad)


def test_a_report_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "page.md"
    write_files(path, "first", {"share": float("nan"), "all": [1.5, {"n": (2,)}]})
    assert json.loads(path.with_suffix(".json").read_text()) == {
        "share": None,
        "all": [1.5, {"n": [2]}],
    }
    with pytest.raises(TypeError):
        write_files(path, "second", {"bad": object()})
    assert path.read_text() == "first\n"
    assert sorted(p.name for p in path.parent.iterdir()) == ["page.json", "page.md"]


def test_an_untrained_model_from_end_to_end(tmp_path: Path) -> None:
    torch.manual_seed(5)
    model = build_sam3_video_model(config=presets.SAM3_TINY_VIDEO, load_from_HF=False, device="cpu")
    checkpoint = tmp_path / "untrained.safetensors"
    save_checkpoint(model, checkpoint, config=presets.SAM3_TINY.to_dict())
    arguments = shlex.split(
        f"--checkpoint {checkpoint} --clips 2 --frames 3 --text-frames 3 --max-side 100"
        " --rule score_threshold_detection=0.0 --rule max_num_objects=2"  # noise is detected
    )
    assert main([*arguments, "--report", str(tmp_path / "out.md")]) == 0
    page = (tmp_path / "out.md").read_text()
    stored = json.loads((tmp_path / "out.json").read_text())
    assert stored["command"] in page and stored["environment"]["torch"] in page
    words = shlex.split(stored["command"])
    assert words[:3] == ["python", "-m", "sam3.train.eval.evaluate_clips"]
    again, first = _parser().parse_args(words[3:]), _parser().parse_args(arguments)
    again.report = first.report
    assert vars(again) == vars(first)
    prompts = stored["prompts"]["rows"]
    assert all(0 <= prompts[name]["J"] < 0.5 for name in ("one click", "box", "true mask"))
    assert prompts["true mask"]["J_first"] > 0.8  # the prompt itself comes back
    total = stored["text"]["3"]["rows"]["all"]
    assert total["phrases"] >= 2 and 0 <= total["HOTA"] < 0.5
    assert stored["text"]["3"]["absent"]["absent"] == {"phrases": 2, "silent": 0}
    assert to_markdown(stored) == page.removesuffix("\n")
    assert "nan" not in page


def test_rules_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _parser().parse_args(["--checkpoint", "x", "--rule", "new_det_thresh"])
    assert "NAME=VALUE" in capsys.readouterr().err
    assert math.isclose(
        _parser().parse_args(["--checkpoint", "x", "--rule", "a=0.5"]).rule[0][1], 0.5
    )

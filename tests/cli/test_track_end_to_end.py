"""``track`` with a real video model of random weights, and as a program that gets Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sam3 import cli
from sam3.checkpoint import save_checkpoint
from sam3.model_builder import build_sam3_video_model
from sam3.train.data.scenes.clip_files import write_clip
from sam3.train.data.scenes.clips import clip_rng, draw_clip
from tests.support.video import build_tiny, small_config

ROOT = Path(__file__).resolve().parents[2]
COUNT, WIDTH, HEIGHT = 4, 80, 60
PATIENCE = 900  # seconds, of a program on a busy machine


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``clip.mp4`` and ``random.safetensors``: a small video, a small video model."""
    folder = tmp_path_factory.mktemp("video")
    write_clip(draw_clip(clip_rng(0, 3), (HEIGHT, WIDTH), frames=COUNT), folder / "clip.mp4")
    tensors = {n: t for n, t in build_tiny().state_dict().items() if not n.endswith("freqs_cis")}
    config = small_config().image.to_dict()
    save_checkpoint(tensors, folder / "random.safetensors", config=config)
    image = {n: t for n, t in tensors.items() if n.startswith("detector.")}
    save_checkpoint(image, folder / "image.safetensors", config=config)
    later = {n.replace("tracker.", "tracker.model.", 1): t for n, t in tensors.items()}
    save_checkpoint(later, folder / "later.safetensors", config=config)
    return folder


@pytest.fixture
def track(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command on the clip, working in ``tmp_path``, without a network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def call(*words: object, model: str = "random") -> int:
        command = ["track", folder / "clip.mp4", "--model", folder / f"{model}.safetensors"]
        return cli.main([str(word) for word in (*command, "--device", "cpu", *words)])

    return call


def record_of(output: str = "outputs") -> dict[str, Any]:
    return json.loads(Path(output, "clip.json").read_text(encoding="utf-8"))


def described(folder: Path, frame: int) -> dict[int, dict[str, Any]]:
    """What the model says by itself about a box with two points, and a point."""
    model = build_sam3_video_model(folder / "random.safetensors", device="cpu")
    state = model.init_state(resource_path=str(folder / "clip.mp4"))
    corners, size = [[10, 6], [70, 50], [40, 30], [4, 4]], (WIDTH, HEIGHT)
    for obj_id, points, labels in ((0, corners, [2, 3, 1, 0]), (1, [[60, 15]], [1])):
        parts = (np.array(points) / size).tolist()
        model.add_prompt(state, frame, points=parts, point_labels=labels, obj_id=obj_id)
    found = dict(model.propagate_in_video(state, start_frame_idx=frame))
    return found | dict(model.propagate_in_video(state, start_frame_idx=frame, reverse=True))


def test_points_and_boxes_alone(track: Any, folder: Path) -> None:
    words = ["--point", "40,30", "--point", "4,4,0", "--box", "10,6,70,50"]
    assert track(*words, "--object", "--point", "60,15", "--frame", 1) == 0
    outputs, record = described(folder, 1), record_of()
    assert [f["frame"] for f in record["frames"]] == list(range(COUNT)) == sorted(outputs)
    seen = 0
    for entry in record["frames"]:
        known = outputs[entry["frame"]]
        labels = np.zeros((HEIGHT, WIDTH), int)
        for obj_id, mask in zip(known["out_obj_ids"], known["out_binary_masks"], strict=True):
            labels[mask] = obj_id + 1
        with Image.open(f"outputs/clip_masks/{entry['frame']:05d}.png") as image:
            np.testing.assert_array_equal(np.asarray(image), labels)
        assert [o["id"] for o in entry["objects"]] == known["out_obj_ids"].tolist()
        seen += len(entry["objects"])
    assert seen >= COUNT
    assert {(o["phrase"], o["score"]) for f in record["frames"] for o in f["objects"]} == {("", 1)}


@pytest.mark.parametrize("frame", [0, COUNT - 1])
def test_a_text_and_a_point(track: Any, frame: int) -> None:
    words = ["--point", "40,30", "red circle", "--confidence", 0, "--frame", frame]
    assert track(*words, "--masks", "none") == 0
    record = record_of()
    assert [f["frame"] for f in record["frames"]] == list(range(COUNT))
    *found, clicked = record["objects"]
    assert found and {o["phrase"] for o in found} == {"red circle"}
    assert clicked["phrase"] == "" and clicked["id"] > max(o["id"] for o in found)
    assert frame in range(clicked["first_frame"], clicked["last_frame"] + 1)


def test_confidence_decides_what_begins(track: Any) -> None:
    assert track("red circle", "--masks", "none") == 0
    assert record_of()["objects"] == []  # random weights are sure of nothing
    assert track("red circle", "--masks", "none", "--confidence", 0, "-o", "low") == 0
    assert record_of("low")["objects"]


@pytest.mark.parametrize(
    ("model", "message"), [("image", "holds no tracker"), ("later", "holds SAM 3.1")]
)
def test_models_that_cannot_track_exit_with_3(
    track: Any, capsys: pytest.CaptureFixture[str], model: str, message: str
) -> None:
    assert track("red circle", model=model) == 3
    assert message in capsys.readouterr().err and not Path("outputs").exists()


@pytest.mark.slow
def test_ctrl_c_and_resume_as_a_program(folder: Path, tmp_path: Path) -> None:
    clip = draw_clip(clip_rng(0, 3), (HEIGHT, WIDTH), frames=30)
    write_clip(clip, tmp_path / "clip.mp4")
    command = [sys.executable, "-m", "sam3", "track", "clip.mp4", "--point", "40,30"]
    command += ["--model", str(folder / "random.safetensors"), "--device", "cpu"]
    environment = dict(os.environ, PYTHONPATH=str(ROOT), HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1")

    def start(*words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*command, *words], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
        )

    running, journal = start(), tmp_path / "outputs" / ".clip.journal"
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and running.poll() is None:
        if journal.exists() and journal.read_bytes().count(b"\n") > 3:
            break
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, messages = running.communicate(timeout=PATIENCE)
    assert running.returncode == 130, messages
    assert "Traceback" not in messages and "--resume" in messages
    early = json.loads((tmp_path / "outputs" / "clip.json").read_text())
    assert 3 <= len(early["frames"]) < 30 and early["complete"] is False
    for output, words in (("outputs", ["--resume"]), ("whole", ["-o", "whole"])):
        running = start(*words)
        _, messages = running.communicate(timeout=PATIENCE)
        assert running.returncode == 0, (output, messages)
    records = [
        json.loads((tmp_path / output / "clip.json").read_text()) for output in ("outputs", "whole")
    ]
    assert records[0] == records[1] and len(records[0]["frames"]) == 30
    assert early["frames"] == records[1]["frames"][: len(early["frames"])]
    assert not journal.exists()

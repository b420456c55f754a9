"""``track``: the words of its command line, and wrong use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sam3.checkpoint import resolve
from sam3.cli import parse, track
from sam3.cli.options import Region
from sam3.cli.track_options import TrackOptions, read_options
from sam3.cli.track_session import Described, describe
from sam3.cli.track_source import open_clip
from sam3.errors import CheckpointMismatchError, DeviceError

ROOT = Path(__file__).resolve().parents[2]


def options(*words: str) -> TrackOptions:
    return read_options(parse(["track", *words]))


def test_all_points_and_boxes_describe_one_object() -> None:
    read = options(
        *("clip.mp4", "--point", "1,2", "--box", "3,4,5,6", "--point", "7,8,0"),
        *("--negative-point", "9,10", "a  red circle", "--point", "1,1,1"),
    )
    assert read.prompt == "a red circle" and read.video == Path("clip.mp4")
    assert read.objects == (
        (
            Region((1, 2), True),
            Region((3, 4, 5, 6), True),
            Region((7, 8), False),
            Region((9, 10), False),
            Region((1, 1), True),
        ),
    )


@pytest.mark.parametrize("start", [(), ("--object",)])
def test_object_starts_another_one(start: tuple[str, ...]) -> None:
    read = options(
        *("clip.mp4", *start, "--point", "1,2", "--object", "--box", "3,4,5,6"),
        *("--object", "--point", "7,8", "--point", "1,1,0"),
    )
    assert [len(group) for group in read.objects] == [1, 1, 2] and read.prompt is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "required: VIDEO"),
        (["clip"], "Say what to track"),
        (["clip", ""], "The text is empty"),
        (["clip", " , "], "The text is empty"),
        (["clip", "-p", " "], "The text is empty"),
        (["clip", "clip"], "'clip' is a file or folder"),
        (["clip", "dog, cat"], "One phrase is tracked at a time, got 2: dog, cat"),
        (["clip", "dog", "-p", "cat"], "One phrase is tracked at a time"),
        (["clip", "dog", "cat"], "unrecognized arguments: cat"),
        (["clip", "--point", "1"], "must be 2 numbers"),
        (["clip", "--point", "1,2,3"], "the label must be 1"),
        (["clip", "--point", "1,2,0"], "needs a point on it"),
        (["clip", "--box", "1,2,3"], "must be 4 numbers"),
        (["clip", "--box", "5,2,3,4"], "X0 < X1"),
        (["clip", "--box", "1,2,3,4", "--box", "2,2,4,4"], "An object takes one box"),
        (["clip", "--point", "1,2", "--object"], "object 2 of 2 has none"),
        (["clip", "--units", "normalized", "--point", "15,10"], "not normalized"),
        (["clip", "--point", "64.5,10"], "reaches beyond the frame of 64 x 48 pixels"),
        (["clip", "--point", "1,-2"], "reaches beyond the frame"),
        (["clip", "--box", "1,2,30,49"], "The box 1,2,30,49 reaches beyond the frame"),
        (["clip", "dog", "--frame", "12"], "has no frame 12: its frames are 0 to 11"),
        (["clip", "dog", "--frame", "-1"], "whole number from 0"),
        (["clip", "dog", "--fps", "0"], "from 0.1 to 1000"),
        (["clip", "dog", "--masks", "gif"], "invalid choice: 'gif'"),
        (["clip", "dog", "--confidence", "1.5"], "from 0 to 1"),
        (["clip", "dog", "-o", "clip"], "both the input and the output folder"),
        (["clip", "dog", "-o", "notes.txt"], "is a file"),
    ],
)
def test_wrong_usage_exits_with_2(
    tracker: Any, frames: Path, words: list[str], message: str
) -> None:
    Path("notes.txt").write_text("no video")
    assert tracker(*words) == 2
    assert message in tracker.shell.err and "Traceback" not in tracker.shell.err
    assert tracker.shell.out == "" and tracker.models == [] and not Path("outputs").exists()


def test_a_video_that_cannot_be_read_exits_with_1(tracker: Any, frames: Path) -> None:
    Path("empty").mkdir()
    Path("notes.txt").write_text("no video")
    Path("broken.mp4").write_bytes(b"no video")
    messages = {
        "missing.mp4": "no such file",
        "empty": "holds no frames",
        "notes.txt": "allowed are a folder of pictures",
        "broken.mp4": "cannot be opened as a video",
    }
    for name, message in messages.items():
        assert tracker(name, "dog") == 1, name
        assert f"{name}: " in tracker.shell.err and message in tracker.shell.err
    assert tracker("missing.mp4", "dog", "--json") == 1
    assert '"status": "failed", "error": "no such file"' in tracker.shell.out
    assert tracker.models == [] and not Path("outputs").exists()


@pytest.mark.parametrize(
    ("error", "code"),
    [(CheckpointMismatchError("holds no tracker"), 3), (OSError("disk"), 3), (DeviceError("x"), 4)],
)
def test_failures_while_loading(
    tracker: Any, frames: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(track, "load_model", fail)
    assert tracker(frames, "dog") == code
    assert str(error) in tracker.shell.err and not Path("outputs").exists()


@pytest.mark.parametrize(
    "words", [["--model", "sam4"], ["--model", "sam3.1", "--no-download"], ["--model", ""]]
)
def test_a_model_that_is_not_there_exits_with_3(
    tracker: Any, frames: Path, words: list[str]
) -> None:
    assert tracker(frames, "dog", *words) == 3


def test_a_model_that_cannot_track_is_not_downloaded(
    tracker: Any, frames: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(resolve, "fetch_weights", lambda name, *_, **__: asked.append(name))
    assert tracker(frames, "dog", "--model", "sam3.1") == 3
    assert "Use --model sam3 for videos" in tracker.shell.err
    assert asked == [] and not Path("outputs").exists()


def test_points_become_parts_of_the_frame(frames: Path) -> None:
    clip = open_clip(frames)
    expected = (Described(((0.25, 0.5), (0.75, 1.0), (0.5, 0.25)), (2, 3, 0)),)
    pixels = options(str(frames), "--point", "32,12,0", "--box", "16,24,48,48")
    assert describe(pixels, clip) == expected
    units = ("--units", "normalized")
    parts = options(str(frames), "--point", "0.5,0.25,0", "--box", ".25,.5,.75,1", *units)
    assert describe(parts, clip) == expected


def test_help_works_as_a_program_without_torch() -> None:
    code = (
        "import sys; from sam3.cli import parse\n"
        "try: parse(['track', '--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    for word in ("--object", "--frame", "tracked again from --frame", "130  interrupted"):
        assert word in result.stdout

"""``track`` that is stopped on the way: what is finished is usable, and --resume goes on."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sam3.cli import track_overlay
from sam3.model.video_frames.prepare import FrameFormat
from sam3.model.video_frames.pyav import PyAVVideo
from tests.support.track_command import COUNT

JOURNAL = Path("outputs/.clip.journal")


def record_of(folder: str = "outputs") -> dict[str, Any]:
    return json.loads(Path(folder, "clip.json").read_text(encoding="utf-8"))


def masks_in(folder: str = "outputs") -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in Path(folder, "clip_masks").iterdir()}


def overlay_length(folder: str = "outputs") -> int:
    return len(PyAVVideo(Path(folder, "clip_overlay.mp4"), FrameFormat(1)))


def assert_finished(numbers: list[int]) -> None:
    """Exactly these frames are there, everywhere, and nothing is half done."""
    record = record_of()
    assert [f["frame"] for f in record["frames"]] == numbers
    assert sorted(masks_in()) == [f"{n:05d}.png" for n in numbers]
    assert overlay_length() == len(numbers)
    assert record["complete"] is (len(numbers) == COUNT)
    assert JOURNAL.exists() is (len(numbers) < COUNT)
    assert not [p for p in Path("outputs").rglob("*") if p.suffix == ".partial"]


@pytest.fixture
def stop_drawing(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Ctrl-C while a frame of the overlay is drawn; negative: no more."""
    real = track_overlay.overlay_frame
    left = -1

    def drawn(*arguments: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            signal.raise_signal(signal.SIGINT)
        return real(*arguments)

    def after(frames: int) -> None:
        nonlocal left
        left = frames

    monkeypatch.setattr(track_overlay, "overlay_frame", drawn)
    return after


@pytest.mark.parametrize(
    ("frame", "after", "finished"),
    [(0, 5, range(5)), (6, 4, range(6, 10)), (6, 8, range(4, COUNT))],
    ids=["forward", "from the middle", "backward"],
)
def test_what_is_finished_is_kept_and_the_rest_follows(
    tracker: Any, frames: Path, frame: int, after: int, finished: range
) -> None:
    command = (frames, "thing", "--frame", frame)
    assert tracker(*command, "-o", "whole") == 0
    tracker.after = after
    assert tracker(*command) == 130
    assert "--resume" in tracker.shell.err and f"{len(finished)} of {COUNT}" in tracker.shell.err
    assert tracker.shell.out == ""
    assert_finished(list(finished))
    early = masks_in()
    tracker.after = after - 3  # earlier than the first time: what was finished stays so
    assert tracker(*command, "--resume") == 130
    assert_finished(list(finished))
    assert masks_in() == early
    tracker.after = None
    assert tracker(*command, "--resume") == 0
    assert_finished(list(range(COUNT)))
    assert masks_in() == masks_in("whole")
    whole = record_of("whole")
    assert record_of()["frames"] == whole["frames"] and record_of()["objects"] == whole["objects"]


def test_a_finished_video_is_left_alone(tracker: Any, frames: Path) -> None:
    assert tracker(frames, "thing") == 0
    line, before = tracker.shell.out, record_of()
    assert tracker(frames, "thing", "--resume") == 0
    assert tracker.shell.out == line and record_of() == before
    assert tracker(frames, "thing", "--resume", "--json") == 0
    assert json.loads(tracker.shell.out)["status"] == "skipped"
    assert len(tracker.models) == 1
    Path("outputs/clip_masks/00003.png").unlink()
    assert tracker(frames, "thing", "--resume") == 0
    assert len(tracker.models) == 2 and len(masks_in()) == COUNT


def test_interrupted_while_drawing_needs_no_tracking(
    tracker: Any, frames: Path, stop_drawing: Callable[[int], None]
) -> None:
    stop_drawing(4)  # the first frame comes last here, so that all are drawn at the end
    assert tracker(frames, "thing", "--frame", 6) == 130
    record = record_of()
    assert len(record["frames"]) == COUNT and record["complete"] is False
    assert overlay_length() == 4
    stop_drawing(-1)
    assert tracker(frames, "thing", "--frame", 6, "--resume") == 0
    assert len(tracker.models) == 1
    assert_finished(list(range(COUNT)))


def test_ctrl_c_while_a_frame_is_drawn_waits_for_it(
    tracker: Any, frames: Path, stop_drawing: Callable[[int], None]
) -> None:
    stop_drawing(4)
    assert tracker(frames, "thing") == 130
    assert_finished(list(range(4)))


def test_an_error_on_the_way_keeps_what_is_finished(tracker: Any, frames: Path) -> None:
    def fail() -> None:
        raise RuntimeError("out of memory")

    tracker.after, tracker.trouble = 6, fail
    assert tracker(frames, "thing", "--json") == 1
    assert "clip: out of memory" in tracker.shell.err
    summary = json.loads(tracker.shell.out)
    assert (summary["status"], summary["finished"]) == ("failed", 6)
    assert_finished(list(range(6)))


def test_nothing_finished_leaves_nothing(tracker: Any, frames: Path) -> None:
    tracker.after = 0
    assert tracker(frames, "thing") == 130
    assert not Path("outputs").exists()


@pytest.mark.parametrize(
    "other",
    [
        ["other"],
        ["thing", "--frame", "1"],
        ["thing", "--masks", "packed"],
        ["thing", "--confidence", "0.6"],
        ["thing", "--fps", "5"],
    ],
    ids=lambda other: other[-1],
)
def test_other_settings_start_over(tracker: Any, frames: Path, other: list[str]) -> None:
    tracker.after = 5
    assert tracker(frames, "thing") == 130
    tracker.after = 2
    assert tracker(frames, *other, "--resume") == 130
    assert len(record_of()["frames"]) == 2


def test_without_resume_it_starts_over(tracker: Any, frames: Path) -> None:
    tracker.after = 5
    assert tracker(frames, "thing") == 130
    tracker.after = 2
    assert tracker(frames, "thing") == 130
    assert_finished([0, 1])


def test_lost_masks_are_written_again(tracker: Any, frames: Path) -> None:
    tracker.after = 5
    assert tracker(frames, "thing") == 130
    kept = masks_in()
    Path("outputs/clip_masks/00002.png").unlink()
    tracker.after = 0
    assert tracker(frames, "thing", "--resume") == 130
    assert masks_in() == kept


def test_half_a_line_in_the_journal_is_dropped(tracker: Any, frames: Path) -> None:
    tracker.after = 5
    assert tracker(frames, "thing") == 130
    JOURNAL.write_bytes(JOURNAL.read_bytes()[:-20])
    tracker.after = 2
    assert tracker(frames, "thing", "--resume") == 130
    assert [f["frame"] for f in record_of()["frames"]] == [0, 1, 2, 3]

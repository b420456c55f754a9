"""The small parts of ``track``: journal, MP4 writer, Ctrl-C held back."""

from __future__ import annotations

import signal
import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from sam3.cli import video_writer
from sam3.cli.interruption import interruption_held
from sam3.cli.track_journal import Journal
from sam3.cli.video_writer import VideoWriter
from sam3.errors import MissingDependencyError
from sam3.model.video_frames.prepare import FrameFormat
from sam3.model.video_frames.pyav import PyAVVideo
from tests.support.clips import numbered_frames

KEY = {"model": "a", "points": [[1, 2]]}


def frame(number: int) -> dict[str, object]:
    return {"frame": number, "objects": [{"id": number, "phrase": "größe\n"}]}


def filled(path: Path, numbers: list[int]) -> Journal:
    journal = Journal(path, KEY, resume=False)
    for number in numbers:
        journal.add(frame(number))
    return journal


def test_a_journal_gives_back_what_it_got_in_order(tmp_path: Path) -> None:
    journal = filled(tmp_path / "deep" / "j", [5, 6, 4])
    assert list(journal) == [4, 5, 6] and 4 in journal and 7 not in journal
    assert [journal[n] for n in journal] == [frame(4), frame(5), frame(6)]
    journal.close()
    again = Journal(tmp_path / "deep" / "j", {**KEY, "points": ((1, 2),)}, resume=True)
    again.add(frame(3))
    assert [again[n] for n in (3, 6)] == [frame(3), frame(6)]
    again.delete()
    assert not (tmp_path / "deep" / "j").exists()


def test_a_journal_of_something_else_is_not_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "j"
    filled(path, [1, 2]).close()
    assert len(Journal(path, {**KEY, "model": "b"}, resume=True)) == 0
    assert len(Journal(path, KEY, resume=True)) == 2
    fresh = Journal(path, KEY, resume=False)
    fresh.add(frame(9))
    fresh.close()
    assert list(Journal(path, KEY, resume=True)) == [9]


@pytest.mark.parametrize("cut", [1, 10, 60, 10_000])
def test_a_journal_cut_off_anywhere_is_good_up_to_there(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "j"
    filled(path, [0, 1, 2]).close()
    whole = path.read_bytes()
    path.write_bytes(whole[: max(0, len(whole) - cut)])
    journal = Journal(path, KEY, resume=True)
    kept = len(journal)
    assert kept < 3
    journal.add(frame(kept))
    journal.close()
    again = Journal(path, KEY, resume=True)
    assert [again[n] for n in again] == [frame(n) for n in range(kept + 1)]
    again.close()
    assert path.read_bytes() == whole[: len(path.read_bytes())]


@pytest.mark.parametrize("codec", [video_writer.H264, video_writer.FALLBACK])
@pytest.mark.parametrize("fps", [Fraction(30000, 1001), 12.5, Fraction(120000, 1001)])
def test_frames_come_back_from_the_mp4(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str, fps: Fraction | float
) -> None:
    monkeypatch.setattr(video_writer, "H264", codec)
    path = tmp_path / "new" / "a.mp4"
    writer = VideoWriter(path, fps)
    images = numbered_frames(7, 33, 47)
    for image in images:
        writer.add(image)
        assert not path.exists()
    writer.close()
    writer.close()
    assert [p.name for p in path.parent.iterdir()] == ["a.mp4"]
    video = PyAVVideo(path, FrameFormat(1))
    assert (len(video), video.width, video.height) == (7, 48, 34)
    assert video.rate is not None and abs(video.rate - Fraction(fps)) < 0.2
    for number, image in enumerate(images):
        assert np.abs(video.pixels(number).astype(int) - int(image[0, 0, 0])).max() <= 3


def test_an_mp4_without_frames_is_none(tmp_path: Path) -> None:
    VideoWriter(tmp_path / "new" / "a.mp4", 10).close()
    assert list(tmp_path.iterdir()) == []


def test_an_mp4_that_cannot_be_ended_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    writer = VideoWriter(path, 10)
    writer.add(numbered_frames(1)[0])

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(video_writer.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        writer.close()
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_without_pyav_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(MissingDependencyError, match="pip install av"):
        VideoWriter(tmp_path / "a.mp4", 10)


def test_ctrl_c_is_answered_at_the_end_of_the_block() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), interruption_held():
        signal.raise_signal(signal.SIGINT)
        done.append("all of it")
    assert done == ["all of it"]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_an_error_in_the_block_comes_first() -> None:
    usual = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="broken"), interruption_held():
        signal.raise_signal(signal.SIGINT)
        raise ValueError("broken")
    assert signal.getsignal(signal.SIGINT) is usual


def test_other_threads_and_deaf_processes_are_left_alone() -> None:
    def work() -> None:
        with interruption_held():
            assert signal.getsignal(signal.SIGINT) is usual
        ran.append(True)

    ran: list[bool] = []
    usual = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ran == [True]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruption_held():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, usual)

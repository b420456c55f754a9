"""The pieces of the video benchmarks: sizes, slopes, plots, frames, the number of objects."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import video, video_memory, video_models
from benchmarks.plot import COLOURS, draw_lines, ticks
from benchmarks.sizes import deep_bytes

CPU = torch.device("cpu")
MIB = 2**20


@dataclass
class Record:
    table: dict = field(default_factory=dict)
    model: torch.nn.Module = field(default_factory=lambda: torch.nn.Linear(512, 512))


def test_sizes_count_every_storage_once_and_no_module():
    whole = torch.zeros(MIB, dtype=torch.uint8)
    record = Record({"a": whole, "b": [whole[:5], whole.view(2, -1)], "c": np.zeros(MIB, np.uint8)})
    record.table["self"] = record
    assert 2 * MIB < deep_bytes(record) < 2 * MIB + 20_000
    assert deep_bytes(record, whole, record.table["b"]) < MIB + 20_000
    assert deep_bytes([b"x" * 1000]) > deep_bytes([b""]) + 999


def test_slopes_begin_at_the_settled_frame():
    frames = list(range(0, 40, 5))
    grows = [7 * frame + (0 if frame >= 10 else 10**6) for frame in frames]
    row = {"frames": frames, "held": grows, "kept": [5] * 8}
    assert video_memory.slope(row, "held", 10) == pytest.approx(7)
    assert video_memory.slope(row, "kept", 10) == pytest.approx(0)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 0.03), (0, 2000), (-5, 7), (3, 3)])
def test_ticks_are_round_and_inside(low, high):
    found = ticks(low, high)
    assert all(low <= t <= high for t in found) and len(found) <= 7
    assert high == low or len(found) >= 2


def test_a_plot_shows_every_line(tmp_path):
    series = [("one", range(10), range(10)), ("two", range(10), [3.0] * 10)]
    path = draw_lines(tmp_path / "new" / "x.png", series, "title", "frame", "MiB")
    with Image.open(path) as picture:
        seen = {colour for _, colour in picture.getcolors(2**16)}
    assert {tuple(bytes.fromhex(c[1:])) for c in COLOURS[:2]} <= seen
    assert [p.name for p in path.parent.iterdir()] == ["x.png"]


@pytest.mark.parametrize(
    "frames",
    [video_models.MovingFrames(5, 28), video_memory.ShapeFrames(5, 28, 2, CPU)],
    ids=["pattern", "discs"],
)
def test_frames_are_pixels_that_move(frames):
    pixels = torch.stack(list(frames))
    assert pixels.shape == (5, 3, 28, 28) and pixels.abs().max() <= 1
    assert not torch.equal(frames[0], frames[4]) and torch.equal(frames[3], frames[3])


@torch.inference_mode()
def test_the_number_of_objects_is_exact():
    config = video_models.config_of("tiny", 5)
    model = video_models.build_ours(config, None, CPU)
    video_models.limit_objects(model, None, 3)
    frames = video_models.MovingFrames(2, config.image.vision.img_size)
    for _, outputs in video_models.our_video(model, frames):
        assert outputs["frame_stats"]["num_obj_tracked"] == 3
    pixels = frames.all()
    features = video_models.our_features(model, pixels)
    assert [len(s[1]) for s in video_models.our_tracker(model, pixels, 3, features)] == [3] * 2


def test_tables_stand_without_a_peer():
    rows = [{"part": "video", "objects": 4, "side": "ours", "peak_bytes": 3 * MIB}]
    assert video.memory_table(rows).splitlines()[-1] == "| video | 4 | 3 | – |"
    times = [{"part": "video", "objects": 4, "ours": {"median_ms": 8.0}}]
    assert video.frame_table(times).splitlines()[-1] == "| video | 4 | 8 | – | – | 2 |"


@pytest.mark.parametrize(
    ("parse", "arguments"),
    [
        (video.parse, ["--objects", "0"]),
        (video.parse, ["--checkpoint", "absent.safetensors"]),
        (video_memory.parse, ["--frames", "10"]),
        (video_memory.parse, ["--checkpoint", "absent.safetensors"]),
    ],
)
def test_wrong_options(parse, arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(arguments)
    assert stop.value.code == 2
    assert arguments[0] in capsys.readouterr().err

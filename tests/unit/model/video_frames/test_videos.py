"""Video files: right frame at any access, values, memory, damage; needs PyAV."""

from __future__ import annotations

import copy
import pickle
import random
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from sam3.errors import MissingDependencyError, VideoError
from sam3.model.io_utils import load_resource_as_video_frames
from sam3.model.utils.sam2_utils import load_video_frames
from sam3.model.video_frames import pyav
from sam3.model.video_frames.prepare import FrameFormat
from sam3.perflib.capabilities import has_package
from tests.support.clips import numbered_frames, write_video

needs_av = pytest.mark.skipif(not has_package("av"), reason="PyAV is not installed")
COUNT = 23


def number(frame: torch.Tensor) -> int:
    """Which of numbered_frames a frame is; lossy codecs and colour conversion move it a little."""
    value = (float(frame.float().mean()) + 1) / 2 * 255
    assert abs((value - 10) / 9 - round((value - 10) / 9)) < 0.3, value
    return round((value - 10) / 9)


@pytest.fixture(
    params=[
        ("mpeg4", 5, 0, "mp4"),
        ("mpeg4", 12, 0, "avi"),
        ("libx264", 6, 3, "mp4"),
        ("libx264", 250, 2, "mkv"),
        ("mjpeg", 1, 0, "mov"),
    ],
    ids=lambda p: f"{p[0]}-{p[3]}",
)
def video(request, tmp_path) -> Path:
    import av

    codec, gop, b_frames, suffix = request.param
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV cannot write {codec}")
    path = tmp_path / f"clip.{suffix}"
    return write_video(path, numbered_frames(COUNT), codec, gop, b_frames)


@needs_av
def test_every_frame_in_any_order(video):
    frames, height, width = load_resource_as_video_frames(video, 28)
    assert (len(frames), height, width) == (COUNT, 48, 64)
    assert [number(frame) for frame in frames] == list(range(COUNT))
    assert [number(frames[i]) for i in reversed(range(COUNT))] == list(reversed(range(COUNT)))
    order = [random.Random(0).randrange(COUNT) for _ in range(60)]
    assert [number(frames[i]) for i in order] == order


@needs_av
def test_original_pixels_and_frame_rate(video):
    source = pyav.PyAVVideo(video, FrameFormat(28))
    assert source.rate == 10
    shown = [source.pixels(i) for i in (22, 0, 7)]
    assert {(p.shape, p.dtype.name) for p in shown} == {((48, 64, 3), "uint8")}
    assert [round((float(p.mean()) - 10) / 9) for p in shown] == [22, 0, 7]


@needs_av
def test_bytes_and_copies_read_alike(tmp_path):
    path = write_video(tmp_path / "clip.mp4", numbered_frames(8))
    frames, height, width = load_video_frames(path.read_bytes(), 28)
    assert (len(frames), height, width, frames.dtype) == (8, 48, 64, torch.float32)
    for other in (pickle.loads(pickle.dumps(frames)), copy.deepcopy(frames)):
        assert [number(other[i]) for i in (7, 2)] == [7, 2]
        assert torch.equal(other[5], frames[5])


@needs_av
def test_pixels_are_scaled_to_one(tmp_path):
    """Black is -1 and white is 1: the published loader forgot the division by 255."""
    black, white = (np.full((32, 32, 3), v, np.uint8) for v in (0, 255))
    frames, _, _ = load_resource_as_video_frames(
        write_video(tmp_path / "clip.mp4", [black, white], gop=1), 28
    )
    assert frames.dtype == torch.float32
    assert frames[0].mean() == pytest.approx(-1, abs=0.05)
    assert frames[1].mean() == pytest.approx(1, abs=0.05)


@needs_av
def test_colours_keep_their_order(tmp_path):
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 255
    frames, _, _ = load_resource_as_video_frames(write_video(tmp_path / "clip.mp4", [red]), 28)
    assert len(frames) == 1
    r, g, b = frames[0].mean((1, 2)).tolist()
    assert r > 0.9 and g < -0.9 and b < -0.9


@needs_av
def test_forward_reading_decodes_each_frame_once(tmp_path, monkeypatch):
    path = write_video(tmp_path / "clip.mp4", numbered_frames(COUNT), gop=6)
    opened = []
    original = pyav.PyAVVideo._open
    monkeypatch.setattr(pyav.PyAVVideo, "_open", lambda self: opened.append(1) or original(self))
    source = load_resource_as_video_frames(path, 28)[0].source
    for index in range(COUNT):
        source.read(index, torch.device("cpu"))
    assert len(opened) == 2  # once to count the frames, once to decode them
    assert len(source._recent) <= pyav.KEPT_DECODED
    opened.clear()
    for index in reversed(range(COUNT)):
        source.read(index, torch.device("cpu"))
    assert len(opened) <= 1 + COUNT // 6


@needs_av
def test_a_closed_video_opens_again(tmp_path):
    frames, _, _ = load_resource_as_video_frames(
        write_video(tmp_path / "clip.mp4", numbered_frames(6)), 28
    )
    assert number(frames[3]) == 3
    frames.close()
    assert frames.source._container is None and number(frames[4]) == 4


def broken_files(folder: Path) -> dict[str, Path]:
    whole = write_video(folder / "whole.mp4", numbered_frames(COUNT)).read_bytes()
    contents = {
        "empty": b"",
        "text": b"this is no video at all, " * 40,
        "without its index": whole[: len(whole) // 2],
    }
    paths = {}
    for name, content in contents.items():
        paths[name] = folder / f"{name}.mp4"
        paths[name].write_bytes(content)
    return paths


@needs_av
@pytest.mark.parametrize("name", ["empty", "text", "without its index"])
def test_a_broken_file_is_refused_with_its_name(tmp_path, name):
    path = broken_files(tmp_path)[name]
    with pytest.raises(VideoError, match=r"\.mp4 cannot be opened"):
        load_resource_as_video_frames(path, 28)
    with pytest.raises(VideoError, match="the video cannot be opened"):
        load_video_frames(path.read_bytes(), 28)


@needs_av
def test_a_missing_file(tmp_path):
    with pytest.raises(VideoError, match="there is no file"):
        load_resource_as_video_frames(tmp_path / "missing.mp4", 28)


@needs_av
def test_sound_alone_is_no_video(tmp_path):
    import av

    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        silence = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        silence.rate = 8000
        container.mux(stream.encode(silence))
        container.mux(stream.encode())
    with pytest.raises(VideoError, match="no video stream"):
        load_resource_as_video_frames(path, 28)


@needs_av
def test_damage_in_the_middle_leaves_the_frames_before_it(tmp_path):
    frames = [
        np.random.default_rng(i).integers(0, 255, (48, 64, 3), dtype=np.uint8) for i in range(12)
    ]
    path = write_video(tmp_path / "clip.mkv", frames, "mpeg4", gop=4)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * 0.6)])
    video, _, _ = load_resource_as_video_frames(path, 28)
    assert 2 <= len(video) < 12
    for index in range(len(video) - 1):  # the last one may be cut
        assert video[index].std() > 0.1


@needs_av
def test_a_frame_that_cannot_be_decoded_is_named_and_others_still_work(tmp_path, monkeypatch):
    path = write_video(tmp_path / "clip.mp4", numbered_frames(9), gop=3)
    frames, _, _ = load_resource_as_video_frames(path, 28)
    source = frames.source
    source._times = [*source._times[:5], source._times[5] + 1, *source._times[6:]]
    with pytest.raises(VideoError, match="frame 5 of .*clip.mp4 cannot be decoded"):
        frames[5]
    assert [number(frames[i]) for i in (4, 6, 0)] == [4, 6, 0]


@pytest.mark.parametrize(("degrees", "turns"), [(0, 0), (90, 1), (-90, 3), (180, 2), (-180, 2)])
def test_turned_videos_stand_upright(degrees, turns):
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    np.testing.assert_array_equal(pyav.upright(image, degrees), np.rot90(image, turns))


def test_without_pyav_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"x")
    with pytest.raises(MissingDependencyError, match="pip install av"):
        load_resource_as_video_frames(path, 28)


def install_torchcodec(monkeypatch, decoder) -> None:
    module = types.ModuleType("torchcodec.decoders")
    module.VideoDecoder = decoder
    monkeypatch.setitem(sys.modules, "torchcodec", types.ModuleType("torchcodec"))
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", module)


class Decoder:
    """The part of torchcodec's VideoDecoder that is used: len and uint8 [3, H, W] by index."""

    def __init__(self, source, *, seek_mode):
        assert seek_mode == "exact"
        if not Path(source).read_bytes():
            raise RuntimeError("could not open")
        self.frames = [torch.from_numpy(f).permute(2, 0, 1) for f in numbered_frames(4)]

    def __len__(self):
        return len(self.frames)

    def __getitem__(self, index):
        if index == 2:
            raise RuntimeError("damaged")
        return self.frames[index]


def test_the_torchcodec_adapter(tmp_path, monkeypatch):
    install_torchcodec(monkeypatch, Decoder)
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"x")
    frames, height, width = load_resource_as_video_frames(path, 28, video_loader_type="torchcodec")
    assert (len(frames), height, width, frames.dtype) == (4, 48, 64, torch.float16)
    assert [number(frames[i]) for i in (0, 3, 1)] == [0, 3, 1]
    with pytest.raises(VideoError, match="frame 2 .*damaged"):
        frames[2]
    path.write_bytes(b"")
    with pytest.raises(VideoError, match="cannot be opened"):
        load_resource_as_video_frames(path, 28, video_loader_type="torchcodec")


def test_without_torchcodec_the_error_names_the_other_loader(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"x")
    with pytest.raises(MissingDependencyError, match="cv2"):
        load_resource_as_video_frames(path, 28, video_loader_type="torchcodec")


@pytest.mark.skipif(not has_package("torchcodec"), reason="torchcodec is not installed")
@needs_av
def test_torchcodec_reads_the_frames_pyav_reads(tmp_path):
    path = write_video(tmp_path / "clip.mp4", numbered_frames(COUNT), gop=6)
    frames, _, _ = load_resource_as_video_frames(path, 28, video_loader_type="torchcodec")
    assert [number(frames[i]) for i in (0, 22, 7)] == [0, 22, 7] and len(frames) == COUNT

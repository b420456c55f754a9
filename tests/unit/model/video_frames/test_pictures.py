"""Picture files, folders and lists as videos: golden, order, pixel values, broken and odd input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sam3.errors import FrameIndexError, InputError, UnsupportedInputError, VideoError
from sam3.model.io_utils import is_single_picture, load_resource_as_video_frames
from sam3.model.utils.sam2_utils import load_video_frames
from sam3.model.video_frames.pictures import PictureFiles, natural_key
from sam3.model.video_frames.prepare import FrameFormat
from tests.support.clips import numbered_frames, write_pictures
from tests.support.golden import load
from tests.support.golden_video import synthetic_image


def numbers(frames) -> list[int]:
    """Which of numbered_frames each frame is."""
    return [round(((float(f.float().mean()) + 1) / 2 * 255 - 10) / 9) for f in frames]


def test_golden_frames_of_a_list_of_pictures():
    pictures = [Image.fromarray(synthetic_image(11 + 90 + k, 120, 160)) for k in range(2)]
    frames, height, width = load_resource_as_video_frames(pictures, 1008)
    whole = frames[:].float()
    golden = load("video/full.npz")
    assert (height, width) == (120, 160) and frames.dtype == torch.float16
    assert tuple(whole.shape) == tuple(golden["frames.fullshape"]) == frames.shape
    np.testing.assert_array_equal(whole[..., ::63, ::63].numpy(), golden["frames"])
    wide = whole.double()
    stats = [wide.sum(), wide.abs().sum(), wide.norm()]
    np.testing.assert_allclose([float(v) for v in stats], golden["frames.stats"], rtol=1e-9)


def test_any_kind_of_picture_in_a_list():
    array = synthetic_image(1, 20, 30)
    chw = torch.from_numpy(array).permute(2, 0, 1)
    kinds = [Image.fromarray(array), array, chw, chw.float() / 255]
    frames, _, _ = load_resource_as_video_frames(kinds, 14)
    assert all(torch.equal(frame, frames[0]) for frame in frames)


@pytest.mark.parametrize(
    "names",
    [
        ["0.jpg", "1.jpg", "2.jpg", "10.jpg", "11.jpg"],
        ["00000.png", "00001.png", "00002.png", "00010.png", "100.png"],
        ["frame2.png", "frame10.png", "frame 3.png", "Frame12.png", "größe_1.webp"],
        ["a.bmp", "a1.png", "a2b10.png", "a2b9.png", "٣.png"],
        ["x1.PNG", "x2.JpEg", "x3.TIFF", "x²4.png", "[x] 5%.png"],
    ],
)
def test_order_of_files(tmp_path, names):
    ordered = sorted(names, key=lambda name: natural_key(Path(name).stem))
    folder = write_pictures(tmp_path / "in", ordered, numbered_frames(5))
    (folder / "notes.txt").write_text("not a frame")
    (folder / "._0.png").write_bytes(b"resource fork")
    frames, height, width = load_resource_as_video_frames(folder, 14)
    assert numbers(frames) == [0, 1, 2, 3, 4] and (height, width) == (48, 64)


@pytest.mark.parametrize(
    "ordered",
    [["2", "10", "a"], ["frame 9", "frame 10"], ["a1b2", "a1b10", "a2b1"], ["Shot1", "shot2"]],
)
def test_numbers_in_names_count_as_numbers(ordered):
    assert sorted(reversed(ordered), key=natural_key) == ordered


def test_a_file_is_resized_bilinearly_and_the_trackers_bicubically(tmp_path):
    array = synthetic_image(3, 40, 60)
    folder = write_pictures(tmp_path, ["0.png"], [array])
    for resource in (folder, folder / "0.png", str(folder / "0.png")):
        frames, _, _ = load_resource_as_video_frames(resource, 28)
        small = Image.fromarray(array).resize((28, 28), Image.Resampling.BILINEAR)
        unit = torch.from_numpy(np.array(small)).permute(2, 0, 1) / 255
        assert torch.equal(frames[0], (unit.half() - 0.5) / 0.5) and len(frames) == 1
    frames, _, _ = load_video_frames(folder, 28)
    small = Image.fromarray(array).resize((28, 28), Image.Resampling.BICUBIC)
    unit = torch.from_numpy(np.array(small)).permute(2, 0, 1) / 255
    assert frames.dtype == torch.float32
    torch.testing.assert_close(frames[0], (unit - 0.5) / 0.5, rtol=0, atol=1e-6)


def test_own_mean_and_std():
    frames, _, _ = load_resource_as_video_frames(
        numbered_frames(1), 14, img_mean=(0.0, 0.1, 0.2), img_std=(1, 0.5, 0.25)
    )
    unit = 10 / 255
    expected = torch.tensor([unit, (unit - 0.1) / 0.5, (unit - 0.2) / 0.25])
    torch.testing.assert_close(frames[0].float().mean((1, 2)), expected, atol=2e-3, rtol=0)


def test_a_turned_photograph_stands_upright(tmp_path):
    array = np.zeros((20, 40, 3), np.uint8)
    array[:, :20] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown a quarter turn clockwise: the bright left half comes on top
    Image.fromarray(array).save(tmp_path / "0.png", exif=exif)
    frames, height, width = load_resource_as_video_frames(tmp_path / "0.png", 16)
    assert (height, width) == (40, 20)
    assert frames[0][:, :6].min() > 0.9 and frames[0][:, 10:].max() < -0.9


def test_palette_and_alpha_pictures_become_rgb(tmp_path):
    Image.new("RGBA", (8, 8), (255, 0, 0, 128)).save(tmp_path / "0.png")
    Image.new("RGB", (8, 8), (255, 0, 0)).convert("P").save(tmp_path / "1.png")
    frames, _, _ = load_resource_as_video_frames(tmp_path, 8)
    assert torch.equal(frames[0], frames[1]) and frames[0][:, 0, 0].tolist() == [1, -1, -1]


def test_mixed_sizes_are_named(tmp_path):
    pictures = [*numbered_frames(2), *numbered_frames(1, 30, 20)]
    folder = write_pictures(tmp_path, ["1.png", "2.png", "3.png"], pictures)
    message = "1.png has 64 x 48 pixels, 3.png has 20 x 30"
    for load_frames in (load_resource_as_video_frames, load_video_frames):
        with pytest.raises(VideoError, match=message):
            load_frames(folder, 14)
    with pytest.raises(VideoError, match="frame 2 has 20 x 30"):
        load_resource_as_video_frames(pictures, 14)


def test_broken_files_are_named(tmp_path):
    folder = write_pictures(tmp_path, ["1.jpg", "2.jpg", "3.jpg"], numbered_frames(3, 200, 200))
    whole = (folder / "2.jpg").read_bytes()
    (folder / "2.jpg").write_bytes(whole[:-300])  # the header is there, pixels are missing
    frames, _, _ = load_resource_as_video_frames(folder, 14)
    assert numbers([frames[0], frames[2]]) == [0, 2]
    with pytest.raises(VideoError, match=r"frame 1 .*2\.jpg"):
        frames[1]
    assert numbers([frames[2]]) == [2]
    (folder / "2.jpg").write_text("no picture")
    with pytest.raises(VideoError, match=r"2\.jpg cannot be read"):
        load_resource_as_video_frames(folder, 14)


def test_nothing_to_load(tmp_path):
    with pytest.raises(VideoError, match="holds no frames"):
        load_resource_as_video_frames(tmp_path, 14)
    for empty in ([], np.zeros((0, 4, 4, 3), np.uint8)):
        with pytest.raises(VideoError, match="empty"):
            load_resource_as_video_frames(empty, 14)
    with pytest.raises(VideoError, match="no file"):
        load_resource_as_video_frames(tmp_path / "missing.png", 14)


@pytest.mark.parametrize("resource", [3, None, {"a": 1}, "notes.txt", "folder/that/is/not"])
def test_things_that_are_no_video(resource):
    with pytest.raises(UnsupportedInputError, match="allowed are"):
        load_resource_as_video_frames(resource, 14)
    with pytest.raises(NotImplementedError):  # the published class of this error
        load_resource_as_video_frames(resource, 14)


def test_a_list_of_other_things_names_the_frame():
    with pytest.raises(InputError, match="frame 1"):
        load_resource_as_video_frames([*numbered_frames(1), "x"], 14)


def test_bad_options():
    with pytest.raises(InputError, match="three values"):
        load_resource_as_video_frames(numbered_frames(1), 14, img_mean=(0.5,))
    with pytest.raises(InputError, match="size of at least 1"):
        load_resource_as_video_frames(numbered_frames(1), 0)
    with pytest.raises(RuntimeError, match="cv2, pyav, torchcodec"):
        load_resource_as_video_frames(numbered_frames(1), 14, video_loader_type="decord")


def test_frames_stand_in_for_a_tensor():
    frames, _, _ = load_resource_as_video_frames(numbered_frames(6), 14)
    assert len(frames) == 6 and frames.shape == (6, 3, 14, 14)
    assert frames[1:4].shape == (3, 3, 14, 14) and numbers(frames[1:4]) == [1, 2, 3]
    assert numbers(frames[[4, 0]]) == numbers(frames[torch.tensor([4, 0])]) == [4, 0]
    assert frames[3:3].shape == (0, 3, 14, 14)
    assert numbers([frames[torch.tensor(2)], frames[np.int64(5)], frames[-1]]) == [2, 5, 5]
    assert frames.float()[0].dtype == torch.float32 and frames.float().dtype == torch.float32
    assert frames.to("meta")[0].device.type == "meta"


@pytest.mark.parametrize("index", [6, -7, 100])
def test_a_frame_out_of_range(index):
    frames, _, _ = load_resource_as_video_frames(numbered_frames(6), 14)
    with pytest.raises(FrameIndexError, match="0 to 5"):
        frames[index]


def test_few_frames_stay_in_memory_and_those_are_not_read_again():
    frames, _, _ = load_resource_as_video_frames(numbered_frames(9), 14)
    assert frames[3] is frames[3]
    for _ in frames:
        pass
    assert len(frames._recent) == 4
    frames.close()
    assert not frames._recent and numbers([frames[3]]) == [3]


@pytest.mark.parametrize(
    ("resource", "single"),
    [
        ("a/b.PNG", True),
        ("a.mp4", False),
        ("folder", False),
        ([Image.new("RGB", (4, 4))], True),
        ([1, 2], False),
        (Image.new("RGB", (4, 4)), True),
    ],
)
def test_single_pictures_are_told_apart(resource, single):
    assert is_single_picture(resource) is single


def test_one_picture_is_a_video_of_one_frame():
    frames, height, width = load_resource_as_video_frames(Image.new("RGB", (30, 20)), 14)
    assert (len(frames), height, width) == (1, 20, 30)


def test_dummy_video():
    frames, height, width = load_resource_as_video_frames("<load-dummy-video-3>", 14)
    assert (len(frames), height, width) == (3, 480, 640) and frames.dtype == torch.float16
    assert not torch.equal(frames[0], frames[1])
    assert len(load_resource_as_video_frames("<load-dummy-video>", 14)[0]) == 60
    with pytest.raises(VideoError, match="at least one"):
        load_resource_as_video_frames("<load-dummy-video-0>", 14)


def test_original_pixels_of_files_are_upright_rgb(tmp_path):
    grey = Image.fromarray(np.arange(20 * 30, dtype=np.uint8).reshape(20, 30) // 3)
    turned = grey.getexif()
    turned[0x0112] = 6
    grey.save(tmp_path / "a.png", exif=turned)
    source = PictureFiles([tmp_path / "a.png"], FrameFormat(14))
    pixels = source.pixels(0)
    expected = np.asarray(grey.transpose(Image.Transpose.ROTATE_270).convert("RGB"))
    np.testing.assert_array_equal(pixels, expected)
    assert (source.height, source.width) == pixels.shape[:2] == (30, 20)
    (tmp_path / "a.png").write_bytes(b"gone")
    with pytest.raises(VideoError, match="frame 0"):
        source.pixels(0)

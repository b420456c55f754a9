"""``track``: what it writes, against the video model's own answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sam3.cli.overlay import instance_color
from sam3.cli.track_outputs import save_label_map
from sam3.model.video_frames.prepare import FrameFormat
from sam3.model.video_frames.pyav import PyAVVideo
from sam3.perflib.rle import decode_rle, encode_rle
from tests.support.clips import write_video
from tests.support.track_command import COUNT, short_model
from tests.support.video import HEIGHT, WIDTH, picture, pictures


def expected(frame: int) -> dict[int, dict[str, Any]]:
    """Outputs of the model by itself, prompted on one frame."""
    model = short_model()
    state = model.init_state(resource_path=pictures(COUNT))
    model.add_prompt(state, frame, text_str="thing")
    found = dict(model.propagate_in_video(state))
    found |= dict(model.propagate_in_video(state, start_frame_idx=frame, reverse=True))
    return found


def record_of(stem: str = "clip") -> dict[str, Any]:
    return json.loads(Path("outputs", f"{stem}.json").read_text(encoding="utf-8"))


def label_map(frame: int, stem: str = "clip") -> np.ndarray:
    with Image.open(Path("outputs", f"{stem}_masks", f"{frame:05d}.png")) as image:
        return np.asarray(image)


def masks_of(record: dict[str, Any]) -> list[np.ndarray]:
    return [decode_rle(item["segmentation"]) for item in record["objects"]]


@pytest.mark.parametrize("frame", [0, 5, COUNT - 1])
def test_every_frame_is_written_once(tracker: Any, frames: Path, frame: int) -> None:
    assert tracker(frames, "thing", "--frame", frame) == 0, tracker.shell.err
    assert (
        tracker.shell.out
        == f"{frames}\t{COUNT}\t{len(record_of()['objects'])}\toutputs/clip.json\n"
    )
    outputs, record = expected(frame), record_of()
    assert [f["frame"] for f in record["frames"]] == list(range(COUNT)) == sorted(outputs)
    for entry in record["frames"]:
        known = outputs[entry["frame"]]
        assert [o["id"] for o in entry["objects"]] == known["out_obj_ids"].tolist()
        scores = [o["score"] for o in entry["objects"]]
        np.testing.assert_allclose(scores, known["out_probs"], atol=1e-6)
        labels = np.zeros((HEIGHT, WIDTH), int)
        for obj_id, mask in zip(known["out_obj_ids"], known["out_binary_masks"], strict=True):
            labels[mask] = obj_id + 1
        np.testing.assert_array_equal(label_map(entry["frame"]), labels)
    assert len(list(Path("outputs", "clip_masks").iterdir())) == COUNT
    names = {p.name for p in Path("outputs").iterdir()}
    assert names == {"clip.json", "clip_masks", "clip_overlay.mp4"}


def test_the_record(tracker: Any, frames: Path) -> None:
    assert tracker(frames, "thing", "--json") == 0
    record, summary = record_of(), json.loads(tracker.shell.out)
    assert record["complete"] is True and record["frame_count"] == COUNT
    assert (record["width"], record["height"], record["fps"]) == (WIDTH, HEIGHT, 24.0)
    assert record["settings"]["prompt"] == "thing"
    assert record["files"] == {
        "overlay": "clip_overlay.mp4",
        "masks": "clip_masks",
        "json": "clip.json",
    }
    assert summary["status"] == "done" and summary["objects"] == len(record["objects"]) > 2
    for known in record["objects"]:
        seen = [
            f["frame"] for f in record["frames"] for o in f["objects"] if o["id"] == known["id"]
        ]
        span = (known["first_frame"], known["last_frame"], known["frames"])
        assert span == (seen[0], seen[-1], len(seen)) and known["phrase"] == "thing"


def test_boxes_hold_the_pixels_of_their_masks(tracker: Any, frames: Path) -> None:
    assert tracker(frames, "thing") == 0
    inside = 0
    for entry in record_of()["frames"]:
        labels = label_map(entry["frame"])
        for item in entry["objects"]:
            rows, columns = np.nonzero(labels == item["id"] + 1)
            x0, y0, x1, y1 = item["box"]
            assert item["area"] == len(rows) and 0 <= x0 < x1 <= WIDTH and 0 <= y0 < y1 <= HEIGHT
            if len(rows):
                assert x0 <= columns.min() and columns.max() < x1
                assert y0 <= rows.min() and rows.max() < y1
                inside += (columns.min(), rows.max() + 1) == (x0, y1)
    assert inside > COUNT  # most masks keep all their pixels


def test_packed_masks_say_the_same(tracker: Any, frames: Path) -> None:
    assert tracker(frames, "thing") == 0
    maps = [label_map(frame) for frame in range(COUNT)]
    assert tracker(frames, "thing", "--masks", "packed", "-o", "packed") == 0
    record = json.loads(Path("packed/clip.json").read_text())
    assert "masks" not in record["files"] and not Path("packed/clip_masks").exists()
    for entry, labels in zip(record["frames"], maps, strict=True):
        for item, mask in zip(entry["objects"], masks_of(entry), strict=True):
            np.testing.assert_array_equal(mask, labels == item["id"] + 1)


def test_without_masks(tracker: Any, frames: Path) -> None:
    assert tracker(frames, "thing", "--masks", "none") == 0
    assert not Path("outputs/clip_masks").exists()
    assert all("segmentation" not in o for f in record_of()["frames"] for o in f["objects"])


def test_the_overlay_shows_every_object_in_its_colour(tracker: Any, frames: Path) -> None:
    assert tracker(frames, "thing", "--masks", "packed", "--fps", "12.5") == 0
    video = PyAVVideo(Path("outputs/clip_overlay.mp4"), FrameFormat(1))
    factor = video.width // WIDTH  # small videos are enlarged
    assert (len(video), video.width, video.height) == (COUNT, WIDTH * factor, HEIGHT * factor)
    assert float(video.rate) == 12.5 and factor > 1
    for entry in record_of()["frames"]:
        shown = video.pixels(entry["frame"]).astype(int)
        plain = np.asarray(picture(entry["frame"] % 3)).repeat(factor, 0).repeat(factor, 1)
        free = np.ones((HEIGHT, WIDTH), bool)
        for item, mask in zip(entry["objects"], masks_of(entry), strict=True):
            x0, y0, x1, y1 = item["box"]
            free[y0:y1, x0:x1] = free[max(0, y0 - 6) : y0, x0:] = False  # boxes and labels
            inner = np.zeros_like(mask)
            inner[1:-1, 1:-1] = mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
            inner = inner.repeat(factor, 0).repeat(factor, 1)
            tinted = plain[inner] * 0.55 + np.array(instance_color(item["id"])) * 0.45
            if len(tinted) > 2000:
                assert np.median(np.abs(shown[inner] - tinted)) < 12, (entry["frame"], item["id"])
        free = free.repeat(factor, 0).repeat(factor, 1)
        assert np.median(np.abs(shown[free] - plain[free])) < 12


@pytest.mark.parametrize(("name", "codec"), [("a.b.mp4", "mpeg4"), ("clip.avi", "mpeg4")])
def test_video_files(tracker: Any, tmp_path: Path, name: str, codec: str) -> None:
    path = write_video(tmp_path / name, [np.asarray(p) for p in pictures(6)], codec)
    assert tracker(path, "thing") == 0
    record = record_of(path.stem)
    assert record["fps"] == 10.0 and len(record["frames"]) == 6
    overlay = PyAVVideo(Path("outputs", f"{path.stem}_overlay.mp4"), FrameFormat(1))
    assert (len(overlay), overlay.rate) == (6, 10)


def test_one_picture_of_odd_size(tracker: Any, tmp_path: Path) -> None:
    path = tmp_path / "still.png"
    picture(0).resize((501, 361)).save(path)
    assert tracker(path, "thing") == 0
    record = record_of("still")
    assert (record["width"], record["height"], len(record["frames"])) == (501, 361, 1)
    assert label_map(0, "still").shape == (361, 501)
    overlay = PyAVVideo(Path("outputs/still_overlay.mp4"), FrameFormat(1))
    assert (len(overlay), overlay.width, overlay.height) == (1, 502, 362)


def test_nothing_of_an_earlier_run_is_left(tracker: Any, frames: Path) -> None:
    assert tracker(frames, "thing") == 0
    for number in range(7, COUNT):
        (frames / f"frame{number}.png").unlink()
    assert tracker(frames, "thing", "--resume") == 0
    assert len(tracker.models) == 2, "another video must not count as done"
    assert len(list(Path("outputs/clip_masks").iterdir())) == 7 == len(record_of()["frames"])


def test_pictures_of_others_stay(tracker: Any, frames: Path) -> None:
    """A folder that happens to be called like the masks is not cleared."""
    other = Path("outputs/clip_masks/00077.png")
    other.parent.mkdir(parents=True)
    other.write_bytes(b"somebody's")
    assert tracker(frames, "thing") == 0
    assert other.read_bytes() == b"somebody's"


@pytest.mark.parametrize(("largest", "mode"), [(254, "P"), (255, "I;16")])
def test_label_maps_of_many_objects(tmp_path: Path, largest: int, mode: str) -> None:
    mask = np.zeros((4, 6), bool)
    mask[1:3, 2:5] = True
    record = {"objects": [{"id": largest, "segmentation": encode_rle(mask)}]}
    save_label_map(tmp_path / "a.png", record, (6, 4))
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == mode
        np.testing.assert_array_equal(np.asarray(image), mask * (largest + 1))
        if mode == "P":
            assert image.convert("RGB").getpixel((2, 1)) == instance_color(largest)

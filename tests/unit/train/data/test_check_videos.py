"""Data errors of video files are found, named by id, and can be skipped."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sam3.errors import DataError
from sam3.train.data.checks import check_annotations, checked_annotations
from sam3.train.data.coco_json_loaders import SAM3_VEVAL_API_FROM_JSON_NP
from tests.support.datasets import change_row, write_pictures


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("frames"), 2)


def videos() -> dict[str, Any]:
    frames = ["p0.png", "p1.png"]
    video = {"file_names": frames, "height": 30, "width": 40}
    masklet = {
        "video_id": 1,
        "category_id": 1,
        "bboxes": [[1, 1, 5, 5], None],
        "segmentations": [{"size": [30, 40], "counts": [1200]}, None],
    }
    return {
        "videos": [{"id": n, **video} for n in (1, 2)],
        "video_np_pairs": [
            {"id": n, "video_id": n, "category_id": 1, "noun_phrase": "cat"} for n in (1, 2)
        ],
        "annotations": [{"id": n, **copy.deepcopy(masklet)} for n in (5, 6)],
    }


def lengthen(data: dict[str, Any]) -> None:
    data["annotations"][0]["bboxes"].append(None)


VIDEO_CASES: dict[str, tuple[Callable[[dict[str, Any]], None], str, str, tuple[int, int, int]]] = {
    "frame": (
        change_row("videos", 1, file_names=["p0.png", "gone.png"]),
        "missing image",
        "video 2: 1 of 2 frames: .*gone.png is missing",
        (1, 1, 2),
    ),
    "no frames": (
        change_row("videos", 1, file_names=[]),
        "incomplete row",
        "video 2: .*no frames",
        (1, 1, 2),
    ),
    "double": (change_row("videos", 1, id=1), "duplicate id", "video 1: id 1", (1, 1, 2)),
    "stray pair": (
        change_row("video_np_pairs", 1, video_id=9),
        "unknown id",
        "pair 2: .*video 9",
        (2, 1, 2),
    ),
    "stray masklet": (
        change_row("annotations", 1, video_id=9),
        "unknown id",
        "annotation 6: .*video 9",
        (2, 2, 1),
    ),
    "length": (lengthen, "incomplete row", "annotation 5: .*2 frames, it has 3 boxes", (2, 2, 1)),
    "box": (
        change_row("annotations", 0, bboxes=[None, [1, 2, float("nan"), 3]]),
        "NaN",
        "annotation 5: frame 1: bbox",
        (2, 2, 1),
    ),
    "mask": (
        change_row("annotations", 0, segmentations=[{"size": [30, 40], "counts": [3]}, None]),
        "bad mask",
        "annotation 5: frame 0: .*add up",
        (2, 2, 1),
    ),
    "edge": (
        change_row("annotations", 0, bboxes=[[30, 2, 15, 5], None]),
        "box outside",
        "annotation 5: frame 0: .*ends 5 pixels",
        (2, 2, 2),
    ),
    "edge and mask": (
        change_row("annotations", 0, bboxes=[[30, 2, 15, 5], [1, 1, 0, 1]]),
        "bad box",
        "annotation 5: frame 1: .*no area",
        (2, 2, 1),
    ),
}


@pytest.mark.parametrize("name", VIDEO_CASES)
def test_videos(name: str, folder: Path) -> None:
    change, kind, text, left = VIDEO_CASES[name]
    assert not check_annotations(videos(), folder)
    data = videos()
    change(data)
    with pytest.raises(DataError, match=text):
        checked_annotations(data, folder)
    assert kind in {p.kind for p in check_annotations(data, folder).problems}
    rest = checked_annotations(data, folder, on_error="skip")
    sections = ("videos", "video_np_pairs", "annotations")
    assert tuple(len(rest[s]) for s in sections) == left
    loader = SAM3_VEVAL_API_FROM_JSON_NP(rest, load_annotations=True)
    for index in loader.getDatapointIds():
        assert loader.loadQueriesAndAnnotationsFromDatapoint(index)


def test_videos_without_phrases_are_an_empty_set(folder: Path) -> None:
    data = {**videos(), "video_np_pairs": []}
    with pytest.raises(DataError, match="no video with a phrase"):
        checked_annotations(data, folder)

"""Every kind of data error is found, named by id, and can be skipped."""

from __future__ import annotations

import copy
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from sam3.errors import DataError, InputError
from sam3.train.data.checks import KINDS, check_annotations, checked_annotations
from sam3.train.data.sam3_image_dataset import Sam3ImageDataset
from sam3.train.transforms.segmentation import DecodeRle
from tests.support.datasets import (
    change_row,
    coco_annotations,
    write_picture,
    write_pictures,
)

NAN = float("nan")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four sound pictures, and p7.png to p9.png: small, no picture, cut off."""
    folder = write_pictures(tmp_path_factory.mktemp("pictures"), 4)
    write_picture(folder / "p7.png", 20, 15)
    (folder / "p8.png").write_bytes(b"no picture")
    whole = (folder / "p0.png").read_bytes()
    (folder / "p9.png").write_bytes(whole[: len(whole) // 2])
    return folder


def found(data: Any, folder: Path, **options: Any) -> list[tuple[str, str]]:
    return [(p.kind, str(p)) for p in check_annotations(data, folder, **options).problems]


def add_category(data: dict[str, Any]) -> None:
    data["categories"].append({"id": 9, "name": "unicorn"})


def no_mask(data: dict[str, Any]) -> None:
    data["annotations"][2]["segmentation"] = []


def polygon(*corners: float) -> Callable[[dict[str, Any]], None]:
    return change_row("annotations", 1, segmentation=[[1, 1, 9, 1, 9, 9], list(corners)])


def rle(**values: Any) -> Callable[[dict[str, Any]], None]:
    return change_row("annotations", 1, segmentation={"size": [30, 40], "counts": [1200], **values})


def box(*sides: Any) -> Callable[[dict[str, Any]], None]:
    return change_row("annotations", 1, bbox=list(sides))


# name: (change of a sound set, kind, what the problem says; the rows left with "skip")
CASES: dict[str, tuple[Callable[[dict[str, Any]], None], str, str, tuple[int, int, int]]] = {
    "gone": (
        change_row("images", 1, file_name="x.png"),
        "missing image",
        "image 2: .*x.png is",
        (3, 2, 3),
    ),
    "no picture": (
        change_row("images", 1, file_name="p8.png"),
        "unreadable image",
        "image 2: .*p8.png cannot be decoded",
        (3, 2, 3),
    ),
    "other size": (
        change_row("images", 1, file_name="p7.png"),
        "wrong size",
        "image 2: .*p7.png has 20 x 15 pixels, the annotations say 40 x 30",
        (3, 2, 3),
    ),
    "no size": (change_row("images", 1, width=0), "wrong size", "image 2: .*positive", (3, 2, 3)),
    "NaN size": (
        change_row("images", 1, width=NAN),
        "wrong size",
        "image 2: .*positive",
        (3, 2, 3),
    ),
    "double image": (change_row("images", 1, id=1), "duplicate id", "image 1: id 1 was", (3, 2, 3)),
    "double annotation": (
        change_row("annotations", 1, id=100),
        "duplicate id",
        "annotation 100: id 100 was",
        (4, 2, 3),
    ),
    "double category": (
        change_row("categories", 1, id=1),
        "duplicate id",
        "category 1: id",
        (4, 1, 2),
    ),
    "no id": (
        change_row("annotations", 1, id=None),
        "incomplete row",
        "annotation number 2: .*id",
        (4, 2, 3),
    ),
    "no file": (
        change_row("images", 1, file_name=None),
        "incomplete row",
        "image 2: .*file_name",
        (3, 2, 3),
    ),
    "no box": (
        change_row("annotations", 1, bbox=None),
        "incomplete row",
        "annotation 101: .*bbox",
        (4, 2, 3),
    ),
    "stray": (
        change_row("annotations", 1, image_id=77),
        "unknown id",
        "annotation 101: .*image 77",
        (4, 2, 3),
    ),
    "strange": (
        change_row("annotations", 1, category_id=77),
        "unknown id",
        "annotation 101: there is no category 77",
        (4, 2, 3),
    ),
    "NaN box": (box(1, NAN, 3, 4), "NaN", r"annotation 101: bbox is \[1, nan", (4, 2, 3)),
    "infinite box": (box(1, 2, float("inf"), 4), "NaN", "annotation 101: bbox is", (4, 2, 3)),
    "three sides": (box(1, 2, 3), "bad box", r"annotation 101: bbox must be \[left", (4, 2, 3)),
    "text": (box(1, 2, "3", 4), "bad box", "annotation 101: bbox must be", (4, 2, 3)),
    "no area": (box(1, 2, 3, 0), "bad box", "annotation 101: .* has no area", (4, 2, 3)),
    "elsewhere": (box(40, 2, 3, 4), "box outside", "annotation 101: .*wholly outside", (4, 2, 3)),
    "over the edge": (
        box(30, 20, 12, 13.5),
        "box outside",
        "annotation 101: .* ends 3.5 pixels outside the 40 x 30 picture",
        (4, 2, 4),
    ),
    "counts": (
        rle(counts=[5, 6]),
        "bad mask",
        "annotation 101: .*add up to .* a sum of 11",
        (4, 2, 4),
    ),
    "string": (rle(counts="m3<b"), "bad mask", "annotation 101: .*is damaged", (4, 2, 4)),
    "RLE size": (rle(size=[40, 30]), "bad mask", "annotation 101: its RLE is", (4, 2, 4)),
    "no counts": (
        change_row("annotations", 1, segmentation={"size": [30, 40]}),
        "bad mask",
        "annotation 101: its RLE cannot be read: no 'counts'",
        (4, 2, 4),
    ),
    "text mask": (
        change_row("annotations", 1, segmentation="x"),
        "bad mask",
        "annotation 101: .* str",
        (4, 2, 4),
    ),
    "two corners": (polygon(1, 2, 3, 4), "bad mask", "annotation 101: .* got 4 numbers", (4, 2, 4)),
    "odd": (
        polygon(1, 2, 3, 4, 5, 6, 7),
        "bad mask",
        "annotation 101: .* got 7 numbers",
        (4, 2, 4),
    ),
    "NaN corner": (polygon(1, 2, 3, 4, 5, NAN), "NaN", "annotation 101: .* not finite", (4, 2, 4)),
    "unused": (add_category, "category without images", "category 9: .*'unicorn'", (4, 2, 4)),
    "no mask": (no_mask, "image without masks", "image 3: none of its", (3, 2, 3)),
}


def broken(name: str) -> dict[str, Any]:
    data = copy.deepcopy(coco_annotations(4))
    CASES[name][0](data)
    return data


def test_a_sound_set_has_no_problem(folder: Path) -> None:
    data = coco_annotations(4)
    report = check_annotations(data, folder, masks=True, decode_images=True)
    assert not report and report.counts == {"images": 4, "categories": 2, "annotations": 4}
    assert checked_annotations(data, folder, masks=True) == data
    data["annotations"][0]["bbox"] = [-0.6, 0, 41, 30.9]  # exports round
    data["annotations"][1]["segmentation"] = [1, 1, 9, 1, 9, 9]
    data["images"].append({**data["images"][0], "id": 50})  # a picture that shows nothing
    assert not check_annotations(data, folder, masks=True)


@pytest.mark.parametrize("name", CASES)
def test_each_error_is_found_alone_and_stops(name: str, folder: Path) -> None:
    _, kind, text, _ = CASES[name]
    report = check_annotations(broken(name), folder, masks=True)
    matching = [p for p in report.problems if p.kind == kind and re.search(text, str(p))]
    assert len(matching) == 1, report.text()
    follow_ups = {p.kind for p in report.problems} - {kind}
    assert follow_ups <= {"image without masks", "unknown id"}
    with pytest.raises(DataError, match=text) as caught:
        checked_annotations(broken(name), folder, masks=True)
    assert "on_error = 'skip'" in str(caught.value)


@pytest.mark.parametrize("name", CASES)
def test_each_error_can_be_skipped(
    name: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, kind, _, left = CASES[name]
    data = broken(name)
    with caplog.at_level(logging.WARNING):
        rest = checked_annotations(
            data, folder, on_error="skip", masks=kind == "image without masks"
        )
    assert kind in caplog.text
    assert tuple(len(rest[s]) for s in ("images", "categories", "annotations")) == left
    again = check_annotations(rest, folder)
    assert {p.kind for p in again.problems} <= {"box outside"}
    caplog.clear()
    options = {"transforms": [DecodeRle()], "max_ann_per_img": 9, "multiplier": 1, "training": True}
    dataset = Sam3ImageDataset(folder, rest, load_segmentation=True, **options)
    for index in range(len(dataset)):
        assert dataset[index]
    assert not caplog.text  # no sample had to be replaced


def test_files_that_are_cut_off_are_found_by_decoding(folder: Path) -> None:
    data = coco_annotations(4)
    data["images"][3]["file_name"] = "p9.png"
    assert not check_annotations(data, folder)
    [(kind, text)] = found(data, folder, decode_images=True)
    assert kind == "unreadable image" and "image 4:" in text and "p9.png" in text


def test_all_problems_are_in_one_report(folder: Path, tmp_path: Path) -> None:
    data = coco_annotations(4)
    for name in ("gone", "strange", "unused"):
        CASES[name][0](data)
    data["images"][0]["file_name"] = "y.png"
    data["annotations"].append({**data["annotations"][3], "id": 104, "bbox": [NAN] * 4})
    file = tmp_path / "train.json"
    file.write_text(json.dumps(data))
    text = check_annotations(file, folder).text()
    assert text.splitlines() == [
        f"{file}: 5 problems (4 images, 3 categories, 5 annotations)",
        "unknown id (1)",
        "  annotation 101: there is no category 77",
        "missing image (2)",
        f"  image 1: {folder / 'y.png'} is missing",
        f"  image 2: {folder / 'x.png'} is missing",
        "NaN (1)",
        "  annotation 104: bbox is [nan, nan, nan, nan]",
        "category without images (1)",
        "  category 9: no picture shows 'unicorn'",
    ]
    assert [k for k in KINDS if f"\n{k} (" in text] == [
        "unknown id",
        "missing image",
        "NaN",
        "category without images",
    ]


def empty_images(data: dict[str, Any]) -> None:
    data["images"] = []


def nothing_annotated(data: dict[str, Any]) -> None:
    data["annotations"] = []


def all_missing(data: dict[str, Any]) -> None:
    for image in data["images"]:
        image["file_name"] = "nowhere.png"


@pytest.mark.parametrize("change", [empty_images, nothing_annotated, all_missing])
@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_an_empty_set_stops_in_any_case(
    change: Callable[[dict[str, Any]], None], on_error: Any, folder: Path
) -> None:
    data = coco_annotations(4)
    change(data)
    with pytest.raises(DataError, match="empty set") as caught:
        checked_annotations(data, folder, on_error=on_error)
    assert str(caught.value).endswith("nothing is left to train on")


def test_kinds_can_be_ignored(folder: Path) -> None:
    data = broken("unused")
    assert checked_annotations(data, folder, ignore=["category without images"]) == data
    with pytest.raises(DataError, match="image without masks"):
        checked_annotations(broken("no mask"), folder, ignore=["NaN"], masks=True)
    assert checked_annotations(broken("no mask"), folder) == broken("no mask")
    with pytest.raises(InputError, match=r"unknown kinds of problems \['nan'\]"):
        checked_annotations(data, folder, ignore=["nan"])
    with pytest.raises(InputError, match="'stop' or 'skip', got 'go'"):
        checked_annotations(data, folder, on_error="go")  # type: ignore[arg-type]


def test_the_given_annotations_are_not_changed(folder: Path) -> None:
    data = broken("counts")
    before = copy.deepcopy(data)
    rest = checked_annotations(data, folder, on_error="skip")
    assert data == before and rest["annotations"][1]["segmentation"] is None


def test_pairs_share_their_picture_s_faults(folder: Path) -> None:
    def pair(identifier: int, name: str) -> dict[str, Any]:
        return {"id": identifier, "file_name": name, "text_input": "cat", "queried_category": "1"}

    data = {"images": [pair(1, "p0.png"), pair(2, "z.png"), pair(3, "z.png"), pair(1, "p1.png")]}
    data["images"].append({"id": 8, "file_name": "p0.png", "text_input": "dog"})
    assert [(k, t.split(":")[0]) for k, t in found(data, folder)] == [
        ("missing image", "image 2"),
        ("missing image", "image 3"),
        ("duplicate id", "image 1"),
        ("incomplete row", "image 8"),
    ]
    rest = checked_annotations(data, folder, on_error="skip")
    assert [r["id"] for r in rest["images"]] == [1]
    with pytest.raises(DataError, match="no pair has a picture"):
        checked_annotations({"images": [pair(2, "z.png")]}, folder, on_error="skip")


def test_pictures_of_other_modes_are_sound(folder: Path, tmp_path: Path) -> None:
    for n, mode in enumerate(("L", "RGBA", "P", "1")):
        PIL.Image.new(mode, (40, 30)).save(tmp_path / f"p{n}.png")
    assert not check_annotations(coco_annotations(4), tmp_path, decode_images=True)

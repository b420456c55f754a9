"""Which files are taken, how they are split, and what is said about errors in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sam3.errors import DataError, InputError
from sam3.train.finetune.data import load_data
from sam3.train.finetune.settings import DataSettings
from sam3.train.finetune.splits import find_splits

from .conftest import write_split


def load(data: Path, **settings):
    return load_data(DataSettings(data=data, **settings))


def test_a_roboflow_export_is_found_with_its_validation_split(export: Path) -> None:
    train, valid = find_splits(export)
    assert train.folder == export / "train" and valid is not None
    assert valid.folder == export / "valid"
    loaded = load(export)
    assert loaded.train.phrases == ("thing 0", "thing 1") and loaded.train.has_masks
    assert "valid/_annotations.coco.json" in loaded.validation_source


def test_the_test_split_serves_where_there_is_no_validation_split(export: Path) -> None:
    (export / "valid").rename(export / "test")
    assert "test/_annotations" in load(export).validation_source


def test_a_folder_with_one_file_and_the_file_itself_are_the_same(tmp_path: Path) -> None:
    write_split(tmp_path / "set" / "images", name="other.txt")
    file = tmp_path / "set" / "labels.json"
    (tmp_path / "set" / "images" / "other.txt").rename(file)
    for data in (tmp_path / "set", file):
        train, valid = find_splits(data)
        assert train.file == file and train.folder == tmp_path / "set" / "images"
        assert valid is None


def test_coco_folders_are_told_by_their_names(tmp_path: Path) -> None:
    for name in ("train2017", "val2017"):
        content = write_split(tmp_path / name, name="x.txt")
        (tmp_path / "annotations").mkdir(exist_ok=True)
        file = tmp_path / "annotations" / f"instances_{name}.json"
        file.write_text(json.dumps(content))
    train, valid = find_splits(tmp_path)
    assert train.folder == tmp_path / "train2017"
    assert valid is not None and valid.folder == tmp_path / "val2017"


def test_a_share_is_held_out_by_seed(export: Path) -> None:
    file = export / "train" / "_annotations.coco.json"
    ids = []
    for seed in (0, 0, 1):
        loaded = load(file, hold_out=0.5, seed=seed)
        parts = [{r["id"] for r in s.content["images"]} for s in (loaded.train, loaded.valid)]
        assert not parts[0] & parts[1] and parts[0] | parts[1] == {1, 2, 3, 4}
        for part, held in zip(parts, (loaded.train, loaded.valid), strict=True):
            assert {row["image_id"] for row in held.content["annotations"]} <= part
        assert f"seed {seed}" in loaded.validation_source
        ids.append(parts[1])
    assert ids[0] == ids[1] and len(ids[0]) == 2


def test_the_row_that_roboflow_puts_first_is_left_out(export: Path) -> None:
    rows = [
        {"id": 0, "name": "things", "supercategory": "none"},
        {"id": 1, "name": "thing 0", "supercategory": "things"},
        {"id": 2, "name": "thing 1", "supercategory": "things"},
    ]
    write_split(export / "train", categories=rows)
    assert load(export).train.phrases == ("thing 0", "thing 1")


def test_validation_categories_are_told_by_name(export: Path) -> None:
    rows = [{"id": 2, "name": "thing 0"}, {"id": 1, "name": "thing 1"}]
    write_split(export / "valid", categories=rows)
    loaded = load(export)
    assert loaded.valid.content["annotations"][0]["category_id"] == 2
    write_split(export / "valid", categories=[{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}])
    with pytest.raises(DataError, match="lacks: cat, dog"):
        load(export)


def test_boxes_without_masks_are_enough(export: Path) -> None:
    content = json.loads((export / "train" / "_annotations.coco.json").read_text())
    rows = [{**row, "segmentation": []} for row in content["annotations"]]
    write_split(export / "train", annotations=rows)
    loaded = load(export)
    assert not loaded.train.has_masks and loaded.valid.has_masks


def test_phrases_replace_category_names(export: Path) -> None:
    loaded = load(export, prompts={"thing 1": "small cat"})
    assert loaded.train.phrases == loaded.valid.phrases == ("thing 0", "small cat")
    with pytest.raises(InputError, match="'dog'.*'thing 0', 'thing 1'"):
        load(export, prompts={"dog": "poodle"})


def test_all_errors_are_listed_by_id_or_left_out(export: Path) -> None:
    content = json.loads((export / "train" / "_annotations.coco.json").read_text())
    rows = content["annotations"]
    rows[0]["bbox"] = [float("nan"), 1, 2, 3]
    rows[1]["segmentation"] = {"size": [30, 40], "counts": [5]}
    (export / "train" / "p2.png").unlink()
    write_broken = export / "train" / "_annotations.coco.json"
    write_broken.write_text(json.dumps(content))
    with pytest.raises(DataError) as error:
        load(export)
    for part in ("annotation 100", "annotation 101", "image 3", "p2.png", "skip"):
        assert part in str(error.value)
    kept = load(export, bad_data="skip")
    assert [row["id"] for row in kept.train.content["annotations"]] == [103]
    assert kept.train.phrases == kept.valid.phrases == ("thing 1",)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda d: None, "no file or folder"),
        (lambda d: d.mkdir(), "no .json file"),
        (lambda d: d.write_text("{"), "not a JSON file"),
        (lambda d: d.write_text("{}"), "no list called images"),
        (lambda d: d.write_text('{"images": [], "annotations": [], "categories": []}'), "empty"),
    ],
)
def test_unusable_data_are_refused(tmp_path: Path, make, message: str) -> None:
    make(tmp_path / "data.json")
    with pytest.raises(DataError, match=message):
        load(tmp_path / "data.json")


def test_pictures_that_are_nowhere_ask_for_their_folder(export: Path, tmp_path: Path) -> None:
    file = tmp_path / "elsewhere" / "labels.json"
    file.parent.mkdir()
    file.write_bytes((export / "train" / "_annotations.coco.json").read_bytes())
    with pytest.raises(DataError, match="--images"):
        find_splits(file)
    assert find_splits(file, export / "train")[0].folder == export / "train"


def test_one_picture_cannot_be_split(tmp_path: Path) -> None:
    write_split(tmp_path / "set", pictures=1)
    with pytest.raises(DataError, match="--validation"):
        load(tmp_path / "set", bad_data="skip")

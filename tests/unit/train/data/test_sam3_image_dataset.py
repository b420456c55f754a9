"""The image data set: what a sample holds, which are replaced, limits and caching."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sam3.errors import DataError, MissingDependencyError
from sam3.train.data.coco_json_loaders import COCO_FROM_JSON, SAM3_EVAL_API_FROM_JSON_NP
from sam3.train.data.sam3_image_dataset import Datapoint, Sam3ImageDataset
from tests.support.datasets import coco_annotations, write_picture, write_pictures

OPTIONS: dict[str, Any] = {
    "transforms": [],
    "max_ann_per_img": 10,
    "multiplier": 1,
    "training": False,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_pictures(tmp_path, 5)


def make(folder: Path, data: Any = None, **options: Any) -> Sam3ImageDataset:
    return Sam3ImageDataset(folder, data or coco_annotations(5), **{**OPTIONS, **options})


def picture_id(datapoint: Datapoint) -> int:
    return datapoint.find_queries[0].inference_metadata.coco_image_id


def test_a_sample_holds_picture_objects_and_queries(folder: Path) -> None:
    dataset = make(folder, load_segmentation=True)
    datapoint = dataset[1]
    [image], [item] = datapoint.images, datapoint.images[0].objects
    wanted = write_picture(folder / "again.png", 40, 30, seed=1)
    np.testing.assert_array_equal(np.asarray(image.data), wanted)
    assert image.size == (30, 40)
    np.testing.assert_allclose(item.bbox, [4, 3, 24, 18], atol=1e-5)
    assert item.area == pytest.approx(0.25) and item.segment["counts"] == [130, 10, 1060]
    assert not item.is_crowd and (item.object_id, item.frame_index) == (0, -1)
    assert [(q.query_text, q.object_ids_output) for q in datapoint.find_queries] == [
        ("thing 0", []),
        ("thing 1", [0]),
    ]
    origin = datapoint.find_queries[1].inference_metadata
    assert (origin.coco_image_id, origin.original_image_id, origin.object_id) == (2, 2, 0)
    assert (origin.original_category_id, origin.original_size) == (2, (30, 40))


def test_training_hides_ids_and_masks_come_on_request(folder: Path) -> None:
    datapoint = make(folder, training=True)[0]
    assert picture_id(datapoint) == -1
    assert datapoint.images[0].objects[0].segment is None


def test_transforms_run_in_order_with_the_epoch(folder: Path) -> None:
    seen = []

    def note(name: str) -> Callable[..., Datapoint]:
        def transform(datapoint: Datapoint, epoch: int) -> Datapoint:
            seen.append((name, epoch))
            return datapoint

        return transform

    dataset = make(folder, transforms=[note("a"), note("b")])
    dataset.set_epoch(7)
    _ = dataset[0]
    assert seen == [("a", 7), ("b", 7)]


def test_limits_draw_the_same_ids_every_time(folder: Path) -> None:
    data = coco_annotations(40)
    ids = make(folder, data, limit_ids=8).ids
    assert ids == make(folder, data, limit_ids=8).ids
    assert len(set(ids)) == 8 and ids != sorted(ids)
    assert ids == make(folder, data, limit_ids=20).ids[:8]
    assert make(folder, data).ids == list(range(40))
    assert len(make(folder, data, limit_ids=100)) == 40


def test_the_multiplier_repeats_samples(folder: Path) -> None:
    dataset = make(folder, multiplier=3)
    assert len(dataset) == 15 and picture_id(dataset[6]) == picture_id(dataset[1]) == 2


def break_picture(folder: Path) -> None:
    (folder / "p1.png").write_bytes(b"no picture")


def remove_picture(folder: Path) -> None:
    (folder / "p1.png").unlink()


@pytest.mark.parametrize(
    ("damage", "message"), [(break_picture, "cannot be decoded"), (remove_picture, "is missing")]
)
def test_a_bad_picture_is_replaced_and_named(
    damage: Callable[[Path], None], message: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damage(folder)
    with caplog.at_level(logging.WARNING):
        assert picture_id(make(folder)[1]) == 3
    assert f"sample 1 (datapoint 1) is replaced by the next one: {folder / 'p1.png'}" in caplog.text
    assert message in caplog.text


def test_too_many_objects_or_queries_or_none_are_replaced(folder: Path) -> None:
    data = coco_annotations(5)
    data["annotations"] += [{**data["annotations"][1], "id": 200 + n} for n in range(3)]
    assert picture_id(make(folder, data)[1]) == 2
    assert picture_id(make(folder, data, max_ann_per_img=3)[1]) == 3
    positive = {"coco_json_loader": lambda f: COCO_FROM_JSON(f, include_negatives=False)}
    data["annotations"] = [a for a in data["annotations"] if a["image_id"] != 5]
    assert picture_id(make(folder, data, **positive)[4]) == 1  # wraps around
    assert picture_id(make(folder, data, max_val_queries=2)[0]) == 1
    with pytest.raises(DataError, match="2 queries, allowed are 1 to 1"):
        _ = make(folder, data, max_val_queries=1)[0]
    with pytest.raises(DataError, match="2 queries, allowed are 1 to 1"):
        _ = make(folder, data, max_train_queries=1, training=True)[0]


def test_an_error_in_a_transform_replaces_but_a_missing_package_stops(folder: Path) -> None:
    def refuse_the_first(datapoint: Datapoint, epoch: int) -> Datapoint:
        if picture_id(datapoint) == 1:
            raise ValueError("no query left")
        return datapoint

    assert picture_id(make(folder, transforms=[refuse_the_first])[0]) == 2

    def need_package(datapoint: Datapoint, epoch: int) -> Datapoint:
        raise MissingDependencyError("pip install something")

    with pytest.raises(MissingDependencyError):
        _ = make(folder, transforms=[need_package])[0]


def test_a_set_without_a_usable_sample_names_the_cause(folder: Path) -> None:
    for file in folder.glob("*.png"):
        file.unlink()
    with pytest.raises(DataError, match=r"sample 2 and those after it .*p1\.png is missing"):
        _ = make(folder)[2]


def test_stages_need_the_same_number_of_queries(folder: Path) -> None:
    def move_one(datapoint: Datapoint, epoch: int) -> Datapoint:
        datapoint.find_queries.append(datapoint.find_queries[0])
        datapoint.find_queries[1].query_processing_order = 1
        return datapoint

    with pytest.raises(DataError, match=r"different numbers of queries: \{0: 2, 1: 1\}"):
        _ = make(folder, transforms=[move_one])[0]


def test_no_sample_at_all_is_an_error(folder: Path) -> None:
    data = {**coco_annotations(5), "images": [], "annotations": []}
    with pytest.raises(DataError, match="no sample in the annotations"):
        make(folder, data)


def test_file_names_may_lose_their_folders(folder: Path) -> None:
    data = {
        "images": [
            {"id": 4, "file_name": "far/away/p2.png", "text_input": "cat", "queried_category": "7"}
        ]
    }
    options = {"coco_json_loader": SAM3_EVAL_API_FROM_JSON_NP}
    datapoint = make(folder, data, fix_fname=True, **options)[0]
    assert picture_id(datapoint) == 4 and datapoint.find_queries[0].query_text == "cat"
    with pytest.raises(DataError, match=r"far/away/p2\.png is missing"):
        _ = make(folder, data, **options)[0]


def test_caching_reads_rows_once_and_hands_out_fresh_datapoints(folder: Path) -> None:
    dataset = make(folder, use_caching=True)
    calls = []
    load = dataset.loader.loadQueriesAndAnnotationsFromDatapoint
    dataset.loader.loadQueriesAndAnnotationsFromDatapoint = lambda i: calls.append(i) or load(i)
    first = dataset[0]
    first.find_queries[0].object_ids_output.clear()
    first.images[0].objects[0].bbox += 5
    again = dataset[0]
    assert calls == [0]
    assert again.find_queries[0].object_ids_output == [0]
    np.testing.assert_allclose(again.images[0].objects[0].bbox, [4, 3, 24, 18], atol=1e-5)


class Prompting:
    """A loader whose query comes with boxes and points."""

    def __init__(self, _file: Any) -> None:
        self.inner = COCO_FROM_JSON(coco_annotations(1, 1))
        self.getDatapointIds = self.inner.getDatapointIds
        self.loadImagesFromDatapoint = self.inner.loadImagesFromDatapoint

    def loadQueriesAndAnnotationsFromDatapoint(self, idx: int) -> tuple[list, list]:
        queries, annotations = self.inner.loadQueriesAndAnnotationsFromDatapoint(idx)
        queries[0] |= {
            "input_box": [[0.1, 0.2, 0.5, 0.5], [0.9, 0.0, 0.3, 1.0]],
            "input_box_label": [1, 0],
            "input_points": [[0.5, 0.5, 1], [0.25, 1.0, 0]],
        }
        return queries, annotations


def test_boxes_and_points_of_queries_become_pixels(folder: Path) -> None:
    [query] = make(folder, coco_json_loader=Prompting)[0].find_queries
    np.testing.assert_allclose(query.input_bbox, [[4, 6, 24, 21], [36, 0, 40, 30]], atol=1e-5)
    assert query.input_bbox_label.tolist() == [True, False]
    assert query.input_points.tolist() == [[[20, 15, 1], [10, 30, 0]]]
    assert query.input_points.dtype == query.input_bbox.dtype == torch.float32


def test_frames_of_a_video_file_are_pictures(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    levels = [30, 120, 220]
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 40, 30, "yuv420p"
        for level in levels:
            picture = np.full((30, 40, 3), level, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    data = coco_annotations(4, 1)
    for frame, row in enumerate(data["images"]):
        row["file_name"] = f"clip.mp4@{frame}"
    dataset = make(tmp_path, data)
    for index in (2, 0, 1):
        pixels = np.asarray(dataset[index].images[0].data)
        assert pixels.shape == (30, 40, 3)
        assert abs(pixels.mean() - levels[index]) < 4
    assert picture_id(dataset[3]) == 1  # there is no frame 3

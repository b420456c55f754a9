"""Loaders against stored datapoints, and their decisions on files of their own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from sam3.errors import DataError, MissingDependencyError
from sam3.perflib.rle import decode_rle
from sam3.train.data.coco_json_loaders import (
    COCO_FROM_JSON,
    SAM3_EVAL_API_FROM_JSON_NP,
    SAM3_VEVAL_API_FROM_JSON_NP,
)
from sam3.train.data.coco_masks import segmentation_to_rle

GOLDEN = json.loads((Path(__file__).parents[3] / "golden/train/loaders.json").read_text())
INPUTS, OUTPUTS = GOLDEN["inputs"], GOLDEN["outputs"]
NAMES = [{"id": 2, "name": "kitty"}, {"id": 5, "name": "crimson point"}, {"id": 9, "name": "puppy"}]
LOADERS = {
    "coco_all": (COCO_FROM_JSON, "coco", {}),
    "coco_chunk2": (COCO_FROM_JSON, "coco", {"category_chunk_size": 2}),
    "coco_posonly": (COCO_FROM_JSON, "coco", {"include_negatives": False}),
    "coco_prompts": (COCO_FROM_JSON, "coco", {"prompts": str(NAMES)}),
    "np": (SAM3_EVAL_API_FROM_JSON_NP, "np_json", {}),
    "veval": (SAM3_VEVAL_API_FROM_JSON_NP, "veval", {}),
}


def plain(value: Any) -> Any:
    """Tensors as lists, inside dicts and lists too."""
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def datapoints(loader: Any) -> list[dict[str, Any]]:
    found = []
    for index in loader.getDatapointIds():
        queries, annotations = loader.loadQueriesAndAnnotationsFromDatapoint(index)
        images = loader.loadImagesFromDatapoint(index)
        found.append(
            {"id": index, "images": images, "queries": queries, "annotations": annotations}
        )
    return plain(found)


@pytest.mark.parametrize("name", LOADERS)
def test_golden_datapoints(name: str, tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    cls, section, options = LOADERS[name]
    file = tmp_path / "annotations.json"
    file.write_text(json.dumps(INPUTS[section]))
    for source in (file, str(file), INPUTS[section]):
        assert datapoints(cls(source, **options)) == OUTPUTS[name]


def test_all_stored_loaders_are_tested() -> None:
    other = {"resize_scales", "resize_max", "aspect"}
    assert set(OUTPUTS) == set(LOADERS) | other


def test_prompts_may_be_a_list_and_leave_names_out() -> None:
    loader = COCO_FROM_JSON(
        INPUTS["coco"], prompts=[{"id": 5, "name": "dot"}, {"id": 77, "name": "x"}]
    )
    queries, _ = loader.loadQueriesAndAnnotationsFromDatapoint(0)
    assert [q["query_text"] for q in queries] == ["cat", "dot", "dog"]


@pytest.mark.parametrize("prompts", ["__import__('os')", "[{'name': 'a'}]", "[1]", "[{"])
def test_prompts_that_are_no_list_are_an_error(prompts: str) -> None:
    with pytest.raises(DataError, match="prompts must be a list"):
        COCO_FROM_JSON(INPUTS["coco"], prompts=prompts)


def one_box(bbox: list[float], segmentation: Any = None) -> COCO_FROM_JSON:
    row = {"id": 4, "image_id": 1, "category_id": 1, "bbox": bbox, "segmentation": segmentation}
    return COCO_FROM_JSON(
        {
            "images": [{"id": 1, "file_name": "a.png", "width": 20, "height": 10}],
            "categories": [{"id": 1, "name": "cat"}],
            "annotations": [row],
        }
    )


@pytest.mark.parametrize(
    ("bbox", "wanted"),
    [
        ([5, 1, 10, 5], [0.25, 0.1, 0.5, 0.5]),
        ([-4, -1, 10, 5], [0, 0, 0.3, 0.4]),
        ([18, 8, 10, 5], [0.9, 0.8, 0.1, 0.2]),
        ([30, 2, 4, 4], [1, 0.2, 0, 0.4]),
    ],
)
def test_boxes_end_at_the_picture(bbox: list[float], wanted: list[float]) -> None:
    _, [row] = one_box(bbox).loadQueriesAndAnnotationsFromDatapoint(0)
    np.testing.assert_allclose(row["bbox"], wanted, atol=1e-7)
    assert row["area"] == pytest.approx(wanted[2] * wanted[3])


def test_a_broken_annotation_is_named() -> None:
    with pytest.raises(DataError, match="annotation 4: .*'size' and 'counts'"):
        one_box([1, 1, 2, 2], {"size": [10, 20]}).loadQueriesAndAnnotationsFromDatapoint(0)
    with pytest.raises(DataError, match="annotation 4"):
        one_box([1, 1, 2]).loadQueriesAndAnnotationsFromDatapoint(0)
    with pytest.raises(DataError, match="polygons, an RLE dict or null, got str"):
        one_box([1, 1, 2, 2], "poly").loadQueriesAndAnnotationsFromDatapoint(0)


def test_run_lengths_pass_through_and_flat_polygons_are_filled() -> None:
    rle = {"size": [2, 3], "counts": [2, 4]}
    assert segmentation_to_rle(rle, 2, 3) == rle
    pytest.importorskip("pycocotools")
    square = [1, 1, 4, 1, 4, 3, 1, 3]
    made = segmentation_to_rle(square, 5, 6)
    assert made == segmentation_to_rle([square, [0, 0, 1, 1]], 5, 6)
    wanted = np.zeros((5, 6), dtype=bool)
    wanted[1:3, 1:4] = True
    np.testing.assert_array_equal(decode_rle(made), wanted)
    assert segmentation_to_rle([[0, 0, 1, 1]], 5, 6) is None


def test_polygons_without_pycocotools_name_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pycocotools", "pycocotools.mask"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match="pip install pycocotools"):
        segmentation_to_rle([[1, 1, 4, 1, 4, 3]], 5, 6)


def test_video_annotations_on_request() -> None:
    data = dict(INPUTS["veval"])
    rle = {"size": [30, 40], "counts": [1200]}
    row = {"id": 8, "video_id": 1, "category_id": 6, "iscrowd": 0}
    data["annotations"] = [
        {**row, "bboxes": [[4, 3, 8, 6], None], "segmentations": [rle, None]},
        {**row, "bboxes": [[0, 0, 40, 30], [20, 15, 20, 15]], "segmentations": [rle, rle]},
    ]
    queries, annotations = SAM3_VEVAL_API_FROM_JSON_NP(data).loadQueriesAndAnnotationsFromDatapoint(
        0
    )
    assert not annotations and not any(q["object_ids_output"] for q in queries)
    loader = SAM3_VEVAL_API_FROM_JSON_NP(data, load_annotations=True)
    queries, annotations = loader.loadQueriesAndAnnotationsFromDatapoint(0)
    assert [q["object_ids_output"] for q in queries] == [[], [], [0, 1], [2]]
    assert [(a["image_id"], a["object_id"]) for a in annotations] == [(0, 0), (0, 1), (1, 1)]
    np.testing.assert_allclose(annotations[2]["bbox"], [0.5] * 4)
    assert annotations[0]["segmentation"] == rle


@pytest.mark.parametrize("content", ["{", "[]", '{"images": {}}'])
def test_files_that_are_no_annotations_are_named(content: str, tmp_path: Path) -> None:
    file = tmp_path / "broken.json"
    file.write_text(content)
    with pytest.raises(DataError, match=r"broken\.json"):
        COCO_FROM_JSON(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.json cannot be read"):
        SAM3_EVAL_API_FROM_JSON_NP(tmp_path / "nowhere.json")


def test_no_categories_or_no_chunk_is_an_error() -> None:
    with pytest.raises(DataError, match="needs a category"):
        COCO_FROM_JSON({"images": [], "categories": [], "annotations": []})
    with pytest.raises(DataError, match="category_chunk_size"):
        COCO_FROM_JSON(INPUTS["coco"], category_chunk_size=0)

"""Data set, transforms and collation together, against stored samples and batches."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from sam3.model.data_misc import BatchedDatapoint
from sam3.train.data.collator import collate_fn_api, packed_to_padded_naive
from sam3.train.data.sam3_image_dataset import Datapoint, Sam3ImageDataset
from sam3.train.transforms.basic_for_api import (
    ComposeAPI,
    NormalizeAPI,
    PadToSizeAPI,
    RandomResizeAPI,
    ToTensorAPI,
)
from sam3.train.transforms.filter_query_transforms import (
    FilterCrowds,
    FilterEmptyTargets,
    FlexibleFilterFindGetQueries,
    TextQueryToVisual,
)
from sam3.train.transforms.point_sampling import (
    center_positive_sample,
    noise_box,
    rescale_box_xyxy,
    uniform_positive_sample,
    uniform_sample_from_box,
)
from sam3.train.transforms.segmentation import DecodeRle
from tests.support import golden

FOLDER = Path(__file__).parents[3] / "golden/train"
ARRAYS = golden.load("train/data.npz")
CASES = json.loads((FOLDER / "cases.json").read_text())["data"]
COCO = json.loads((FOLDER / "loaders.json").read_text())["inputs"]["coco"]
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}
MEAN = [0.5, 0.5, 0.5]

pytest.importorskip("pycocotools")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the stored pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("a", "b"):
        PIL.Image.fromarray(ARRAYS[f"source/in/{name}"]).save(folder / f"{name}.png")
    return folder


def training_transforms() -> list[Any]:
    return [
        FlexibleFilterFindGetQueries(FilterCrowds()),
        DecodeRle(),
        RandomResizeAPI([48, 56], square=True, consistent_transform=False),
        PadToSizeAPI(56, consistent_transform=False),
        ToTensorAPI(),
        FlexibleFilterFindGetQueries(FilterEmptyTargets()),
        NormalizeAPI(MEAN, MEAN),
    ]


def visual_transforms() -> list[Any]:
    return [
        RandomResizeAPI(56, square=True, consistent_transform=False),
        ToTensorAPI(),
        NormalizeAPI(MEAN, MEAN),
        TextQueryToVisual(1.0, keep_text_queries=False),
    ]


def sample(pictures: Path, name: str) -> Datapoint:
    training = name != "visual"
    transforms = training_transforms() if training else visual_transforms()
    dataset = Sam3ImageDataset(
        pictures,
        COCO,
        [ComposeAPI(transforms)],
        max_ann_per_img=100,
        multiplier=1,
        training=training,
        load_segmentation=training,
    )
    seed = CASES[name]["seed"]
    random.seed(seed)
    torch.manual_seed(seed)
    np.random.seed(seed)
    return dataset[CASES[name]["dataset_index"]]


def stored(prefix: str) -> dict[str, np.ndarray]:
    return {k[len(prefix) + 1 :]: v for k, v in ARRAYS.items() if k.startswith(f"{prefix}/")}


def check(value: Any, wanted: np.ndarray, what: str, atol: float = 1e-5) -> None:
    value = np.asarray(value)
    if value.dtype == np.bool_ and wanted.dtype == np.uint8:
        value = np.packbits(value)
    assert value.shape == wanted.shape, what
    np.testing.assert_allclose(value.astype(np.float64), wanted, rtol=1e-4, atol=atol, err_msg=what)


def sample_arrays(datapoint: Datapoint) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for n, image in enumerate(datapoint.images):
        found |= {f"img{n}/data": image.data, f"img{n}/size": image.size}
        for k, item in enumerate(image.objects):
            found |= {f"img{n}_obj{k}/bbox": item.bbox, f"img{n}_obj{k}/area": item.area}
            if item.segment is not None:
                found[f"img{n}_obj{k}/segment"] = item.segment.bool()
    for n, query in enumerate(datapoint.find_queries):
        if query.input_bbox is not None:
            found[f"q{n}/input_bbox"] = query.input_bbox
            found[f"q{n}/input_bbox_label"] = query.input_bbox_label
    return found


@pytest.mark.parametrize("name", ["train0", "train1", "visual"])
def test_samples(pictures: Path, name: str) -> None:
    datapoint = sample(pictures, name)
    wanted, found = stored(name), sample_arrays(datapoint)
    assert set(found) == set(wanted)
    for key, array in wanted.items():
        check(found[key], array, key, atol=1e-2 if key.endswith("data") else 1e-5)
    assert len(datapoint.images) == CASES[name]["n_images"]
    queries = []
    for query in datapoint.find_queries:
        meta = vars(query.inference_metadata) | {
            "original_size": list(query.inference_metadata.original_size)
        }
        queries.append(
            {
                "text": query.query_text,
                "image_id": query.image_id,
                "objs": query.object_ids_output,
                "exhaustive": query.is_exhaustive,
                "order": query.query_processing_order,
                "meta": meta,
            }
        )
    assert queries == CASES[name]["queries"]


@pytest.mark.parametrize("name", ["collate_seg", "collate_noseg"])
def test_batches(pictures: Path, name: str) -> None:
    case = CASES[name]
    made = collate_fn_api(
        [sample(pictures, part) for part in case["of"]],
        dict_key="all",
        with_seg_masks=name == "collate_seg",
        repeats=1,
    )
    batch = made["all"]
    assert isinstance(batch, BatchedDatapoint)
    assert batch.find_text_batch == case["texts"]
    assert list(batch.img_batch.shape) == case["img_batch"]
    assert [stage.object_ids for stage in batch.find_inputs] == case["object_ids"]
    assert batch.find_metadatas[0].is_conditioning_only == [False] * 6
    parts = {
        "find": batch.find_inputs[0],
        "target": batch.find_targets[0],
        "metadata": batch.find_metadatas[0],
    }
    for part, record in parts.items():
        fields = {k: v for k, v in vars(record).items() if isinstance(v, torch.Tensor)}
        arrays, shapes = stored(f"{name}/{part}"), case[f"{part}_shapes"]
        assert set(fields) == set(arrays) == set(shapes)
        for key, value in fields.items():
            assert [list(value.shape), str(value.dtype)] == shapes[key], key
            check(value, arrays[key], key)


def test_box_noise() -> None:
    arrays = stored("noise_box")
    box = torch.from_numpy(arrays["in/box"])
    torch.manual_seed(int(arrays["in/seed"]))
    np.testing.assert_allclose(noise_box(box, (80, 100), 0.1, 20), arrays["out/a"], **TOLERANCE)
    np.testing.assert_allclose(noise_box(box, (80, 100), 0.6), arrays["out/b"], **TOLERANCE)
    np.testing.assert_allclose(rescale_box_xyxy(box, 1.5, (80, 70)), arrays["out/c"], **TOLERANCE)


def test_clicks() -> None:
    mask = ARRAYS["center_points/in/mask"]
    wanted = ARRAYS["center_points/out/points"]
    np.testing.assert_array_equal(center_positive_sample(mask, 3), wanted)
    np.random.seed(CASES["uniform_points"]["seed"])
    wanted = ARRAYS["uniform_points/out/mask_pts"]
    np.testing.assert_array_equal(uniform_positive_sample(mask, 5), wanted)
    wanted = ARRAYS["uniform_points/out/box_pts"]
    np.testing.assert_array_equal(uniform_sample_from_box(mask, [3, 4, 20, 21], 5), wanted)


def test_packed_to_padded() -> None:
    packed, counts = (torch.from_numpy(ARRAYS[f"packed_to_padded/in/{k}"]) for k in ("packed", "n"))
    padded = packed_to_padded_naive(packed, counts, fill_value=-1)
    np.testing.assert_array_equal(padded, ARRAYS["packed_to_padded/out/padded"])


def test_every_stored_array_is_read() -> None:
    tested = {
        "source", "train0", "train1", "visual", "collate_seg", "collate_noseg", "noise_box",
        "center_points", "uniform_points", "packed_to_padded",
    }  # fmt: skip
    assert {key.split("/")[0] for key in ARRAYS} == tested

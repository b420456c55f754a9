"""Videos: which frames and phrases a sample has, and that they stay together."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sam3.errors import DataError, InputError
from sam3.train.data.coco_json_loaders import SAM3_VEVAL_API_FROM_JSON_NP
from sam3.train.data.collator import collate_fn_api
from sam3.train.data.datapoint import Datapoint
from sam3.train.data.frame_sampling import FrameSampling
from sam3.train.data.sam3_video_dataset import VideoGroundingDataset
from sam3.train.transforms.basic_for_api import NormalizeAPI, RandomResizeAPI, ToTensorAPI
from sam3.train.transforms.segmentation import DecodeRle
from tests.support.datasets import coco_annotations, write_picture, write_pictures

FRAMES = 9


def annotations(frames: int = FRAMES) -> dict[str, Any]:
    """One video with two cats, the second from frame 3 on, one dog and no bird."""
    rle = {"size": [30, 40], "counts": [0, 30, 1170]}
    row = {"video_id": 1, "iscrowd": 0}

    def masklet(category: int, left: int, first: int) -> dict[str, Any]:
        shown = range(first, frames)
        boxes = [[left + f, 2, 5, 6] if f in shown else None for f in range(frames)]
        masks = [rle if f in shown else None for f in range(frames)]
        return {**row, "category_id": category, "bboxes": boxes, "segmentations": masks}

    return {
        "videos": [
            {
                "id": 1,
                "file_names": [f"v/{f}.png" for f in range(frames)],
                "height": 30,
                "width": 40,
            }
        ],
        "video_np_pairs": [
            {"video_id": 1, "category_id": c, "noun_phrase": text}
            for c, text in ((1, "cat"), (2, "dog"), (3, "bird"))
        ],
        "annotations": [masklet(1, 0, 0), masklet(1, 20, 3), masklet(2, 10, 0)],
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("video")
    for frame in range(FRAMES):
        write_picture(folder / f"v/{frame}.png", 40, 30, seed=frame)
    return write_pictures(folder, 2)


def load(data: Any) -> SAM3_VEVAL_API_FROM_JSON_NP:
    return SAM3_VEVAL_API_FROM_JSON_NP(data, load_annotations=True)


def make(folder: Path, **options: Any) -> VideoGroundingDataset:
    defaults: dict[str, Any] = {
        "img_folder": folder,
        "ann_file": annotations(),
        "coco_json_loader": load,
        "transforms": [],
        "max_ann_per_img": 1000,
        "multiplier": 40,
        "training": True,
        "load_segmentation": True,
    }
    return VideoGroundingDataset(**{**defaults, **options})


def frames_of(datapoint: Datapoint) -> list[int]:
    """Frame of every stage, as the queries' metadata tell it."""
    frames: dict[int, set[int]] = {}
    for query in datapoint.find_queries:
        assert query.image_id == query.query_processing_order
        frames.setdefault(query.image_id, set()).add(query.inference_metadata.frame_index)
    assert all(len(f) == 1 for f in frames.values())
    return [frames[stage].pop() for stage in sorted(frames)]


def check_contents(datapoint: Datapoint) -> None:
    """Pictures, objects and answers are those of the frame that the stage says it shows."""
    for stage, frame in enumerate(frames_of(datapoint)):
        image = datapoint.images[stage]
        pixels = np.random.default_rng(frame).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        np.testing.assert_array_equal(np.asarray(image.data), pixels)
        answers = {
            q.query_text: [image.objects[i] for i in q.object_ids_output]
            for q in datapoint.find_queries
            if q.image_id == stage
        }
        wanted = {"cat": [0, 1] if frame >= 3 else [0], "dog": [2], "bird": []}
        for text, objects in answers.items():
            assert [o.object_id for o in objects] == wanted[text]
            assert all(o.frame_index == frame for o in objects)
            lefts = [{0: 0, 1: 20, 2: 10}[o.object_id] + frame for o in objects]
            np.testing.assert_allclose([o.bbox[0].item() for o in objects], lefts, atol=1e-4)


def test_training_draws_strided_frames_in_both_directions(folder: Path) -> None:
    dataset = make(folder, num_stages_sample=3, stage_stride_min=2, stage_stride_max=3)
    drawn = [frames_of(dataset[n]) for n in range(40)]
    steps = [np.diff(frames).tolist() for frames in drawn]
    assert all(a == b for a, b in steps)
    assert {a for a, _ in steps} == {-3, -2, 2, 3}
    assert {min(f) for f in drawn} >= {0, 1, 2, 3, 4}
    for n in range(4):
        check_contents(dataset[n])


def test_time_runs_forwards_on_request_and_epochs_differ(folder: Path) -> None:
    dataset = make(folder, random_reverse_time_axis=False, stage_stride_max=2)
    first = [frames_of(dataset[n]) for n in range(10)]
    assert all(frames == sorted(frames) for frames in first)
    assert [frames_of(dataset[n]) for n in reversed(range(10))] == first[::-1]
    dataset.set_epoch(1)
    assert [frames_of(dataset[n]) for n in range(10)] != first


def test_evaluation_takes_all_frames_in_order(folder: Path) -> None:
    datapoint = make(folder, training=False, multiplier=1)[0]
    assert frames_of(datapoint) == list(range(FRAMES))
    check_contents(datapoint)
    assert {q.inference_metadata.coco_image_id for q in datapoint.find_queries} == {1}


@pytest.mark.parametrize(("count", "stride"), [(4, 1), (6, 1), (7, 2), (100, 5)])
def test_a_short_video_lowers_the_stride(count: int, stride: int) -> None:
    sampling = FrameSampling(stages=4, stride_min=5, stride_max=5, reverse=False)
    for seed in range(20):
        frames = sampling.draw(count, random.Random(seed))
        assert np.diff(frames).tolist() == [stride] * 3
        assert 0 <= frames[0] and frames[-1] < count
    with pytest.raises(DataError, match="3 frames, a sample needs 4"):
        sampling.draw(3, random.Random(0))


def test_one_stage_may_be_any_frame() -> None:
    sampling = FrameSampling(1, 1, 5, False)
    assert {sampling.draw(3, random.Random(s))[0] for s in range(30)} == {0, 1, 2}


def test_phrases_are_limited_alike_in_all_stages(folder: Path) -> None:
    dataset = make(folder, max_query_num=2, num_stages_sample=2)
    seen = set()
    for n in range(20):
        datapoint = dataset[n]
        texts = [
            tuple(q.query_text for q in datapoint.find_queries if q.image_id == stage)
            for stage in range(2)
        ]
        assert texts[0] == texts[1] and len(texts[0]) == 2
        seen.add(texts[0])
        check_contents(datapoint)
    assert seen == {("cat", "dog"), ("cat", "bird"), ("dog", "bird")}
    everything = make(folder, max_query_num=2, training=False)[0]
    assert len(everything.find_queries) == 3 * FRAMES


def test_videos_with_too_many_objects_are_left_out_of_training(folder: Path) -> None:
    with pytest.raises(DataError, match="3 objects, allowed are 2"):
        _ = make(folder, max_masklet_num_in_video=2)[0]
    assert make(folder, max_masklet_num_in_video=2, training=False)[0]


def test_answers_can_be_declared_complete(folder: Path) -> None:
    class Partial(SAM3_VEVAL_API_FROM_JSON_NP):
        def loadQueriesAndAnnotationsFromDatapoint(self, idx: int) -> tuple[list, list]:
            queries, rows = super().loadQueriesAndAnnotationsFromDatapoint(idx)
            return [{**q, "is_exhaustive": False} for q in queries], rows

    options = {"coco_json_loader": Partial, "multiplier": 1}
    assert not any(q.is_exhaustive for q in make(folder, **options)[0].find_queries)
    override = make(folder, override_query_is_exhaustive_to_true=True, **options)
    assert all(q.is_exhaustive for q in override[0].find_queries)


def test_a_picture_can_stand_for_a_video(folder: Path) -> None:
    dataset = VideoGroundingDataset(
        num_stages_sample=3,
        is_tiling_single_image=True,
        img_folder=folder,
        ann_file=coco_annotations(2),
        transforms=[],
        max_ann_per_img=10,
        multiplier=1,
        training=True,
    )
    datapoint = dataset[1]
    assert len(datapoint.images) == 3
    pixels = [np.asarray(image.data).sum() for image in datapoint.images]
    assert len(set(pixels)) == 1
    queries = [(q.query_text, q.image_id, q.object_ids_output) for q in datapoint.find_queries]
    assert queries == [(f"thing {c}", s, [0] if c else []) for s in range(3) for c in range(2)]
    assert {image.objects[0].object_id for image in datapoint.images} == {0}


def test_a_video_becomes_a_batch_with_one_stage_per_frame(folder: Path) -> None:
    transforms = [
        DecodeRle(),
        RandomResizeAPI(16, consistent_transform=True, square=True),
        ToTensorAPI(),
        NormalizeAPI([0.5] * 3, [0.5] * 3),
    ]
    datapoint = make(folder, transforms=transforms, training=False)[0]
    batch = collate_fn_api([datapoint], "ytvis_val", with_seg_masks=True)["ytvis_val"]
    assert batch.img_batch.shape == (FRAMES, 3, 16, 16)
    assert [s.img_ids.tolist() for s in batch.find_inputs] == [[f] * 3 for f in range(FRAMES)]
    assert [t.num_boxes.tolist() for t in batch.find_targets] == [[1, 1, 0]] * 3 + [[2, 1, 0]] * 6
    assert [m.frame_index.tolist() for m in batch.find_metadatas][4] == [4, 4, 4]
    assert batch.find_targets[5].object_ids.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "options",
    [
        {"num_stages_sample": 0},
        {"stage_stride_min": 0},
        {"stage_stride_min": 4, "stage_stride_max": 3},
    ],
)
def test_impossible_strides_are_an_error(folder: Path, options: dict[str, int]) -> None:
    with pytest.raises(InputError, match="strides 1 <= min <= max"):
        make(folder, **options)

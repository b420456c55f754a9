"""From an annotation file over data set, batch, post-processor and file to metrics.

A model that answers with the ground truth must get full marks: ids, sizes and coordinates of the
training package and of the evaluation agree.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sam3.eval.cgf1_eval import CGF1Evaluator
from sam3.eval.coco_eval_offline import CocoEvaluatorOfflineWithPredFileEvaluators
from sam3.eval.coco_reindex import reindex_coco_to_temp
from sam3.eval.coco_writer import PredictionDumper
from sam3.eval.postprocessors import PostProcessImage
from sam3.model.data_misc import BatchedDatapoint
from sam3.train.data.coco_json_loaders import COCO_FROM_JSON, SAM3_EVAL_API_FROM_JSON_NP
from sam3.train.data.collator import collate_fn_api
from sam3.train.data.sam3_image_dataset import Sam3ImageDataset
from sam3.train.data.torch_dataset import TorchDataset
from sam3.train.transforms.basic_for_api import (
    ComposeAPI,
    NormalizeAPI,
    RandomResizeAPI,
    ToTensorAPI,
)
from sam3.train.transforms.segmentation import DecodeRle
from tests.support.datasets import write_picture

SIDE = 64
QUERIES = 5
# Boxes of two categories on pictures of 48 x 32 pixels; ids begin at 0 as in many exports.
BOXES = [
    (0, 0, [6, 4, 12, 8]),
    (0, 1, [24, 8, 12, 16]),
    (0, 1, [6, 20, 9, 8]),
    (2, 0, [3, 2, 30, 20]),
]


def annotations() -> dict[str, Any]:
    """Three pictures, the second without objects; masks fill the boxes."""
    return {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 48, "height": 32} for i in range(3)],
        "categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}],
        "annotations": [
            {
                "id": i,
                "image_id": image,
                "category_id": category,
                "bbox": [x, y, w, h],
                "area": w * h,
                "iscrowd": 0,
                "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
            }
            for i, (image, category, (x, y, w, h)) in enumerate(BOXES)
        ],
    }


def pairs() -> dict[str, Any]:
    """The same objects as (picture, phrase) pairs: pair 2 * image + category."""
    data = annotations()
    for item in data["annotations"]:
        item |= {"image_id": 2 * item["image_id"] + item["category_id"], "category_id": 1}
    data["images"] = [
        {
            "id": 2 * i + c,
            "file_name": f"{i}.png",
            "width": 48,
            "height": 32,
            "text_input": name,
            "queried_category": str(c),
            "is_instance_exhaustive": True,
        }
        for i in range(3)
        for c, name in enumerate(("cat", "dog"))
    ]
    return data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(3):
        write_picture(tmp_path / f"{i}.png", 48, 32, seed=i)
    return tmp_path


def batches(folder: Path, data: str | dict, loader: Any, **options: Any) -> Any:
    transforms = [
        DecodeRle(),
        RandomResizeAPI(SIDE, square=True, max_size=SIDE),
        ToTensorAPI(),
        NormalizeAPI([0.5] * 3, [0.5] * 3),
    ]
    dataset = Sam3ImageDataset(
        folder, data, [ComposeAPI(transforms)], 100, 1, False, coco_json_loader=loader, **options
    )
    collate = partial(collate_fn_api, dict_key="val", with_seg_masks=True)
    return TorchDataset(dataset, 2, 0, False, False, False, collate_fn=collate).get_loader(0)


def answer(boxes: list[Tensor], masks: list[Tensor]) -> dict[str, Tensor]:
    """Outputs that are sure of the given normalised cxcywh boxes and bool masks of each prompt."""
    outputs = {
        "pred_logits": torch.full((len(boxes), QUERIES, 1), -9.0),
        "pred_boxes": torch.full((len(boxes), QUERIES, 4), 0.5),
        "presence_logit_dec": torch.full((len(boxes), 1), 9.0),
        "pred_masks": torch.full((len(boxes), QUERIES, SIDE, SIDE), -9.0),
    }
    for prompt, (own_boxes, own_masks) in enumerate(zip(boxes, masks, strict=True)):
        count = len(own_boxes)
        outputs["pred_logits"][prompt, :count] = 9.0
        outputs["pred_boxes"][prompt, :count] = own_boxes
        outputs["pred_masks"][prompt, :count] = own_masks.float() * 18 - 9
    return outputs


def truth_of(batch: BatchedDatapoint) -> dict[str, Tensor]:
    """The answer that a batch's own targets give."""
    target = batch.find_targets[0]
    counts = target.num_boxes.tolist()
    assert target.segments is not None
    return answer(list(target.boxes.view(-1, 4).split(counts)), list(target.segments.split(counts)))


def feed(meter: PredictionDumper, loader: Any, model: Any) -> dict[str, float]:
    for batch in loader:
        data = batch["val"]
        meter.update(
            find_stages=[[model(data)]],
            find_metadatas=data.find_metadatas,
            model=None,
            batch=data,
            key="val",
        )
    return meter.compute_synced()


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
@pytest.mark.parametrize("chunk", [None, 1])
def test_the_truth_has_full_average_precision(
    folder: Path, iou_type: str, chunk: int | None
) -> None:
    source = folder / "annotations.json"
    source.write_text(json.dumps(annotations()))
    path = reindex_coco_to_temp(source)
    meter = PredictionDumper(
        folder / "dumps",
        PostProcessImage(
            use_original_ids=True,
            use_original_sizes_box=True,
            use_original_sizes_mask=True,
            iou_type=iou_type,
            use_presence=True,
        ),
        iou_type=iou_type,
        merge_predictions=True,
        pred_file_evaluators=[CocoEvaluatorOfflineWithPredFileEvaluators(path, iou_type=iou_type)],
    )
    loader = partial(COCO_FROM_JSON, category_chunk_size=chunk)
    metrics = feed(meter, batches(folder, path, loader, load_segmentation=True), truth_of)
    assert metrics[f"coco_eval_{iou_type}_AP"] == pytest.approx(1.0)
    assert metrics[f"coco_eval_{iou_type}_AR_maxDets@100"] == pytest.approx(1.0)


def test_the_truth_has_full_cgf1(folder: Path) -> None:
    data = pairs()
    source = folder / "pairs.json"
    source.write_text(json.dumps(data))
    scale = torch.tensor([48.0, 32.0, 48.0, 32.0])

    def model(batch: BatchedDatapoint) -> dict[str, Tensor]:
        boxes, masks = [], []
        for pair in batch.find_metadatas[0].coco_image_id.tolist():
            own = [a["bbox"] for a in data["annotations"] if a["image_id"] == pair]
            corners = torch.tensor(own, dtype=torch.float32).view(-1, 4) / scale
            boxes.append(torch.cat([corners[:, :2] + corners[:, 2:] / 2, corners[:, 2:]], -1))
            drawn = torch.zeros(len(own), SIDE, SIDE, dtype=torch.bool)
            for mask, (x, y, w, h) in zip(
                drawn, (corners * SIDE).round().int().tolist(), strict=True
            ):
                mask[y : y + h, x : x + w] = True
            masks.append(drawn)
        return answer(boxes, masks)

    meter = PredictionDumper(
        folder / "dumps",
        PostProcessImage(
            iou_type="segm",
            use_original_sizes_mask=True,
            convert_mask_to_rle=True,
            detection_threshold=0.3,
            use_presence=True,
        ),
        maxdets=1_000_000,
        iou_type="segm",
        merge_predictions=True,
        pred_file_evaluators=[CGF1Evaluator(source, "bbox"), CGF1Evaluator([source], "segm")],
    )
    metrics = feed(meter, batches(folder, str(source), SAM3_EVAL_API_FROM_JSON_NP), model)
    for iou_type in ("bbox", "segm"):
        assert metrics[f"cgF1_eval_{iou_type}_cgF1@0.75"] == pytest.approx(1.0, abs=2e-4)
        assert metrics[f"cgF1_eval_{iou_type}_IL_MCC"] == pytest.approx(1.0, abs=1e-5)


def test_nodes_of_a_configuration(folder: Path) -> None:
    hydra = pytest.importorskip("hydra.utils", reason="hydra-core is not installed")
    source = folder / "annotations.json"
    source.write_text(json.dumps(annotations()))
    offline = "sam3.eval.coco_eval_offline.CocoEvaluatorOfflineWithPredFileEvaluators"
    node = {
        "_target_": "sam3.eval.coco_writer.PredictionDumper",
        "iou_type": "bbox",
        "dump_dir": str(folder / "dumps"),
        "merge_predictions": True,
        "postprocessor": {
            "_target_": "sam3.eval.postprocessors.PostProcessImage",
            "max_dets_per_img": -1,
            "use_original_ids": True,
            "use_original_sizes_box": True,
            "use_presence": True,
        },
        "gather_pred_via_filesys": False,
        "maxdets": 100,
        "pred_file_evaluators": [
            {
                "_target_": offline,
                "gt_path": {
                    "_target_": "sam3.eval.coco_reindex.reindex_coco_to_temp",
                    "input_json_path": str(source),
                },
                "tide": False,
                "iou_type": "bbox",
                "positive_split": True,
            }
        ],
    }
    meter = hydra.instantiate(node)
    assert isinstance(meter, PredictionDumper)
    evaluator = meter.pred_file_evaluators[0]
    loader = batches(folder, str(evaluator.gt_path), COCO_FROM_JSON, load_segmentation=True)
    assert feed(meter, loader, truth_of)["coco_eval_bbox_AP"] == pytest.approx(1.0)
    oracle = hydra.instantiate(
        {"_target_": "sam3.eval.cgf1_eval.CGF1Evaluator", "gt_path": ["a", "b"], "iou_type": "segm"}
    )
    assert [str(path) for path in oracle.gt_paths] == ["a", "b"]
    writer = hydra.instantiate(
        {
            "_target_": "sam3.eval.ytvis_eval.YTVISResultsWriter",
            "dump_file": str(folder / "preds.json"),
            "postprocessor": {"_target_": "sam3.eval.postprocessors.PostProcessNullOp"},
            "gather_pred_via_filesys": False,
        }
    )
    assert writer.compute_synced() == {}

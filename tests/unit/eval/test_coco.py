"""Prediction files, COCO AP from them, and re-indexed ground truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sam3.errors import InputError, MissingDependencyError
from sam3.eval import coco_eval_offline
from sam3.eval.coco_eval_offline import CocoEvaluatorOfflineWithPredFileEvaluators as CocoEvaluator
from sam3.eval.coco_reindex import reindex_coco_to_temp
from sam3.eval.coco_writer import PredictionDumper
from sam3.eval.postprocessors import PostProcessImage
from sam3.eval.protocols import Meter, PredFileEvaluator
from sam3.eval.rle import rle_encode
from tests.support.eval_batches import CountRows, image_outputs, metadata


def write(folder: Path, name: str, value: Any) -> Path:
    path = folder / name
    path.write_text(json.dumps(value))
    return path


def polygon(box: list[int]) -> list[int]:
    """Corners of a box x, y, w, h."""
    x, y, w, h = box
    return [x, y, x + w, y, x + w, y + h, x, y + h]


def truth(first_id: int = 1, **extra: Any) -> dict[str, Any]:
    """Two pictures, two categories; the first picture has one of each, the second nothing."""
    ids = (first_id, first_id + 1)
    boxes = [[10, 10, 30, 30], [60, 10, 20, 20]]
    return {
        "images": [{"id": i, "height": 100, "width": 100, "file_name": f"{i}.png"} for i in ids],
        "categories": [{"id": i, "name": f"c{i}"} for i in ids],
        "annotations": [
            {"id": i, "image_id": first_id, "category_id": i, "bbox": box}
            | {"segmentation": [polygon(box)], **extra}
            for i, box in zip(ids, boxes, strict=True)
        ],
    }


def row(image: int, category: int, box: list[float], score: float) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


def test_dumped_rows(tmp_path: Path) -> None:
    outputs, meta = image_outputs(1), metadata([8], [3])
    dumper = PredictionDumper(
        tmp_path,
        PostProcessImage(use_original_ids=True, use_original_sizes_box=True),
        maxdets=2,
        merge_predictions=True,
        pred_file_evaluators=[CountRows()],
    )
    assert isinstance(dumper, Meter)
    dumper.update(find_stages=[outputs], find_metadatas=[meta], key="any")
    assert dumper.compute_synced() == {"rows": 2.0}
    rows = json.loads((tmp_path / "coco_predictions_bbox.json").read_text())
    best = int(outputs["pred_logits"][0, :, 0].argmax())
    x, y, w, h = (outputs["pred_boxes"][0, best] * torch.tensor([40, 20, 40, 20])).tolist()
    assert rows[0]["bbox"] == pytest.approx([x - w / 2, y - h / 2, w, h], abs=1e-4)
    assert all(value == round(value, 5) for value in (*rows[0]["bbox"], rows[0]["score"]))
    assert (rows[0]["image_id"], rows[0]["category_id"]) == (108, 3)
    assert rows[0]["score"] >= rows[1]["score"]
    dumper.reset()
    assert dumper.compute_synced() == {"rows": 0.0}


def test_dumped_masks_bring_their_own_boxes(tmp_path: Path) -> None:
    processor = PostProcessImage(
        iou_type="segm", use_original_sizes_mask=True, convert_mask_to_rle=True
    )
    dumper = PredictionDumper(tmp_path, processor, iou_type="segm", merge_predictions=True)
    outputs = image_outputs(1)
    outputs["pred_masks"][:] = -5.0
    outputs["pred_masks"][0, 0, :, :4] = 5.0  # the left half of 40 x 20 pixels
    dumper.update(find_stages=[outputs], find_metadatas=[metadata([8], [3])])
    assert dumper.compute_synced() == {}
    rows = json.loads((tmp_path / "coco_predictions_segm.json").read_text())
    assert rows[0]["bbox"] == [0.0, 0.0, 20.0, 20.0]
    assert rows[0]["segmentation"]["size"] == [20, 40]
    assert rows[1]["bbox"] == [0.0, 0.0, 0.0, 0.0]


def test_without_merging_every_process_writes_its_own(tmp_path: Path) -> None:
    dumper = PredictionDumper(tmp_path, PostProcessImage())
    dumper.update(find_stages=[image_outputs(1)], find_metadatas=[metadata([8], [3])])
    assert dumper.compute_synced() == {}
    assert [p.name for p in tmp_path.iterdir()] == ["coco_predictions_bbox_rank_0.json"]


def test_dumper_refusals(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="merge_predictions"):
        PredictionDumper(tmp_path, PostProcessImage(), pred_file_evaluators=[CountRows()])
    with pytest.raises(InputError, match="iou_type"):
        PredictionDumper(tmp_path, PostProcessImage(), iou_type="points")
    dumper = PredictionDumper(tmp_path, PostProcessImage(), iou_type="segm")
    with pytest.raises(InputError, match="needs masks"):
        dumper.update(find_stages=[image_outputs(1)], find_metadatas=[metadata([8], [3])])


def test_perfect_and_half_right(tmp_path: Path) -> None:
    gt = write(tmp_path, "gt.json", truth())
    evaluator = CocoEvaluator(gt)
    assert isinstance(evaluator, PredFileEvaluator)
    right = [row(1, 1, [10, 10, 30, 30], 0.9), row(1, 2, [60, 10, 20, 20], 0.8)]
    metrics = evaluator.evaluate(write(tmp_path, "pred.json", right))
    assert metrics["coco_eval_bbox_AP"] == pytest.approx(1.0)
    assert metrics["coco_eval_bbox_AP_small"] == pytest.approx(1.0)
    assert metrics["coco_eval_bbox_AP_large"] == -1.0
    one_category = evaluator.evaluate(write(tmp_path, "pred.json", right[:1]))
    assert one_category["coco_eval_bbox_AP_50"] == pytest.approx(0.5)
    nothing = evaluator.evaluate(write(tmp_path, "pred.json", []))
    assert nothing["coco_eval_bbox_AP"] == 0.0


def test_positive_split_forgives_what_is_said_of_other_pictures(tmp_path: Path) -> None:
    gt = write(tmp_path, "gt.json", truth())
    # The second picture has no object: this wrong box outranks the right one.
    rows = [row(1, 1, [10, 10, 30, 30], 0.5), row(2, 1, [10, 10, 30, 30], 0.9)]
    predictions = write(tmp_path, "pred.json", rows)
    usual = CocoEvaluator(gt).evaluate(predictions)
    positive = CocoEvaluator(gt, positive_split=True).evaluate(predictions)
    assert usual["coco_eval_bbox_AP_50"] == pytest.approx(0.25)
    assert positive["coco_eval_bbox_AP_50"] == pytest.approx(0.5)


def test_masks(tmp_path: Path) -> None:
    mask = torch.zeros(1, 100, 100, dtype=torch.bool)
    mask[0, 10:40, 10:40] = True
    gt = write(tmp_path, "gt.json", truth())
    found = {"segmentation": rle_encode(mask)[0]}
    rows = [{"image_id": 1, "category_id": 1, "score": 0.9, **found}]
    metrics = CocoEvaluator(gt, iou_type="segm").evaluate(write(tmp_path, "pred.json", rows))
    assert metrics["coco_eval_segm_AP"] == pytest.approx(0.5)  # the other category was missed


def test_evaluator_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gt = write(tmp_path, "gt.json", truth())
    with pytest.raises(InputError, match="iou_type"):
        CocoEvaluator(gt, iou_type="points")
    strange = write(tmp_path, "pred.json", [row(77, 1, [0, 0, 1, 1], 0.9)])
    with pytest.raises(InputError, match="pictures \\[77\\]"):
        CocoEvaluator(gt).evaluate(strange)
    monkeypatch.setitem(__import__("sys").modules, "tidecv", None)
    with pytest.raises(MissingDependencyError, match="pip install tidecv"):
        CocoEvaluator(gt, tide=True).evaluate(write(tmp_path, "pred.json", []))


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
def test_kinds_of_errors(tmp_path: Path, iou_type: str) -> None:
    pytest.importorskip("tidecv", reason="tidecv is not installed")
    gt = write(tmp_path, "gt.json", truth())
    # The second object, called by the first's name; the first is missed.
    box = [60, 10, 20, 20]
    rows = [row(1, 1, box, 0.9) | {"segmentation": [polygon(box)]}]
    predictions = write(tmp_path, "pred.json", rows)
    metrics = CocoEvaluator(gt, tide=True, iou_type=iou_type).evaluate(predictions)
    assert metrics[f"coco_eval_{iou_type}_tide_Cls"] > 0
    assert metrics[f"coco_eval_{iou_type}_tide_Dupe"] == 0


def test_missing_pycocotools_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pycocotools", "pycocotools.coco", "pycocotools.mask"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    gt = write(tmp_path, "gt.json", truth())
    with pytest.raises(MissingDependencyError, match="pip install pycocotools"):
        coco_eval_offline.CocoEvaluatorOfflineWithPredFileEvaluators(gt).evaluate(
            write(tmp_path, "pred.json", [])
        )


def test_ids_from_0_are_moved_up(tmp_path: Path) -> None:
    source = write(tmp_path, "annotations.json", truth(first_id=0, note="kept"))
    path = reindex_coco_to_temp(str(source))
    assert path != str(source) and reindex_coco_to_temp(source) == path
    assert json.loads(Path(path).read_text()) == truth(first_id=1, note="kept") | {
        "images": [
            {"id": i + 1, "height": 100, "width": 100, "file_name": f"{i}.png"} for i in (0, 1)
        ],
        "categories": [{"id": i + 1, "name": f"c{i}"} for i in (0, 1)],
    }
    # The annotation 0 would be lost in matching; moved up, both count.
    rows = [row(1, 1, [10, 10, 30, 30], 0.9), row(1, 2, [60, 10, 20, 20], 0.8)]
    metrics = CocoEvaluator(path).evaluate(write(tmp_path, "pred.json", rows))
    assert metrics["coco_eval_bbox_AP"] == pytest.approx(1.0)


def test_only_lists_that_begin_too_low_are_moved(tmp_path: Path) -> None:
    data = truth(first_id=3)
    fine = write(tmp_path, "fine.json", data)
    assert reindex_coco_to_temp(fine) == str(fine)
    data["images"] = [{"id": 0}, {"id": 7}]
    for annotation in data["annotations"]:
        annotation["image_id"] = 7
    moved = json.loads(Path(reindex_coco_to_temp(write(tmp_path, "b.json", data))).read_text())
    assert [image["id"] for image in moved["images"]] == [1, 8]  # gaps stay
    assert {a["image_id"] for a in moved["annotations"]} == {8}
    assert [a["id"] for a in moved["annotations"]] == [3, 4]
    with pytest.raises(InputError, match="no file"):
        reindex_coco_to_temp(tmp_path / "missing.json")

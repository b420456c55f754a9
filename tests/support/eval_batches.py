"""Small batches for meters, and the work of one of several evaluating processes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sam3.eval.coco_writer import PredictionDumper
from sam3.eval.postprocessors import PostProcessImage, PostProcessNullOp
from sam3.eval.ytvis_eval import YTVISResultsWriter
from sam3.model.data_misc import BatchedInferenceMetadata
from sam3.perflib.rle import encode_rle


def metadata(
    ids: list[int], categories: list[int], size: tuple[int, int] = (20, 40), shift: int = 100
) -> BatchedInferenceMetadata:
    """Origin of prompts about pictures ``ids``; original ids are ``shift`` higher."""
    count = len(ids)
    return BatchedInferenceMetadata(
        coco_image_id=torch.tensor(ids),
        original_image_id=torch.tensor(ids) + shift,
        original_category_id=torch.tensor(categories, dtype=torch.int32),
        original_size=torch.tensor([size] * count),
        object_id=torch.full((count,), -1),
        frame_index=torch.full((count,), -1),
        is_conditioning_only=[False] * count,
    )


def image_outputs(prompts: int, queries: int = 4, seed: int = 0) -> dict[str, Tensor]:
    """Random outputs of the image model with masks of 6 x 8."""
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    return {
        "pred_logits": rand(prompts, queries, 1) * 6 - 3,
        "pred_boxes": torch.cat(
            [0.3 + 0.4 * rand(prompts, queries, 2), 0.4 * rand(prompts, queries, 2)], -1
        ),
        "presence_logit_dec": rand(prompts, 1) * 4,
        "pred_masks": rand(prompts, queries, 6, 8) * 8 - 4,
    }


class CountRows:
    """An evaluator that counts what it is given."""

    def evaluate(self, pred_file: str) -> dict[str, float]:
        return {"rows": float(len(json.loads(Path(pred_file).read_text())))}


def dump_images(folder: Path, pictures: list[int], iou_type: str, by_files: bool) -> dict:
    """Metrics of a dumper that saw ``pictures``, each with two prompts."""
    dumper = PredictionDumper(
        folder,
        PostProcessImage(iou_type=iou_type, use_original_sizes_mask=True, use_original_ids=True),
        maxdets=5,
        iou_type=iou_type,
        gather_pred_via_filesys=by_files,
        merge_predictions=True,
        pred_file_evaluators=[CountRows()],
    )
    for picture in pictures:
        dumper.update(
            find_stages=[image_outputs(2, seed=picture)],
            find_metadatas=[metadata([picture, picture], [3, 7])],
        )
    return dumper.compute_synced()


def video_result(video: int, frames: int = 3) -> dict[int, dict[str, Any]]:
    """Two objects of a video of 8 x 10 pixels; the second is not seen in the first frame."""
    mask = torch.zeros(8, 10, dtype=torch.bool)
    mask[2:4, 1 : 3 + video % 5] = True
    masks = [[encode_rle(mask.numpy())] * frames for _ in range(2)]
    masks[1][0] = None
    box = torch.tensor([0.1, 0.25, 0.2, 0.25])
    return {
        video: {
            "scores": torch.tensor([0.9, 0.4]),
            "labels": torch.tensor([4, 6]),
            "boxes": box.expand(2, frames, 4),
            "masks_rle": masks,
        }
    }


def dump_videos(folder: Path, videos: list[int], by_files: bool) -> dict:
    """Metrics of a writer that saw ``videos``."""
    writer = YTVISResultsWriter(
        folder / "preds.json",
        PostProcessNullOp(),
        gather_pred_via_filesys=by_files,
        pred_file_evaluators=[CountRows()],
    )
    for video in videos:
        writer.update(find_stages=video_result(video), find_metadatas=[])
    return writer.compute_synced()


def fail_in_process_0(folder: Path) -> None:
    """A dumper whose evaluator raises; every process must hear of it."""

    class Broken:
        def evaluate(self, pred_file: str) -> dict[str, float]:
            raise ValueError("broken evaluator")

    dumper = PredictionDumper(
        folder, PostProcessImage(), merge_predictions=True, pred_file_evaluators=[Broken()]
    )
    try:
        dumper.compute_synced()
    except ValueError as error:
        (folder / f"heard_{torch.distributed.get_rank()}").write_text(str(error))


def in_group(rank: int, world: int, rendezvous: str, work: Callable[[int], Any], out: str) -> None:
    """Join a gloo group, work, and leave the JSON of the result in ``out``."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world
    )
    try:
        Path(out, f"result_{rank}.json").write_text(json.dumps(work(rank)))
    finally:
        torch.distributed.destroy_process_group()


class EvaluateShare:
    """Every way to exchange results, on shares that overlap as a padding sampler makes them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, rank: int) -> list[dict]:
        share = [[1, 3, 5], [2, 4, 1]][rank]
        results = [
            dump_images(self.folder / f"{kind}_{files}", share, kind, files)
            for kind in ("bbox", "segm")
            for files in (False, True)
        ]
        results += [dump_videos(self.folder / f"v_{f}", share, f) for f in (False, True)]
        fail_in_process_0(self.folder)
        return results

"""Average precision of a model on the validation pictures, boxes and masks.

Needs pycocotools. Predictions and the ground truth they are compared with stay on disk.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from ...eval.coco_eval_offline import CocoEvaluatorOfflineWithPredFileEvaluators
from ...eval.coco_writer import PredictionDumper
from ...eval.files import write_json
from ...eval.postprocessors import PostProcessImage
from ...model.data_misc import BatchedDatapoint
from ...model.utils.misc import copy_data_to_device
from ..data.coco_json_loaders import COCO_FROM_JSON
from ..data.collator import collate_fn_api
from ..data.sam3_image_dataset import Sam3ImageDataset
from .batches import KEY
from .data import PictureSet
from .transforms import measuring_transforms

logger = logging.getLogger(__name__)

_CHUNK = 8  # phrases at a time
_LOWEST_SCORE = 0.01  # lower ones cannot matter to AP and cost memory
_MOST = 100_000


@dataclass(frozen=True)
class Validation:
    """Measures models on the same pictures.

    pictures: what to measure on; folder: gets ground truth and predictions; side: of the pictures
    the model takes.
    """

    pictures: PictureSet
    folder: Path
    side: int

    @property
    def kinds(self) -> tuple[str, ...]:
        """What can be measured: "bbox", and "segm" where there are masks."""
        return ("bbox", "segm") if self.pictures.has_masks else ("bbox",)

    @torch.no_grad()
    def measure(self, model: nn.Module, name: str) -> dict[str, float]:
        """Statistics ``bbox_AP``, ``bbox_AP_50``, ... and ``segm_...``; -1 where none are defined.

        Args:
            model: the image model; its mode is put back afterwards.
            name: sub-folder for the predictions.
        """
        truth = self.folder / "ground_truth.json"
        write_json(truth, self.pictures.content)
        dumpers = {kind: self._dumper(kind, truth, name) for kind in self.kinds}
        device = next(model.parameters()).device
        before = model.training
        model.eval()
        try:
            for batch in self._batches():
                on_device = copy_data_to_device(batch, device)
                stages = model(on_device)
                for dumper in dumpers.values():
                    dumper.update(find_stages=stages, find_metadatas=on_device.find_metadatas)
        finally:
            model.train(before)
        found: dict[str, float] = {}
        for dumper in dumpers.values():
            found.update(dumper.compute_synced())
        return {key.removeprefix("coco_eval_"): value for key, value in found.items()}

    def _dumper(self, kind: str, truth: Path, name: str) -> PredictionDumper:
        return PredictionDumper(
            dump_dir=self.folder / name,
            postprocessor=PostProcessImage(
                iou_type=kind,
                use_original_ids=True,
                use_original_sizes_box=True,
                use_original_sizes_mask=True,
                convert_mask_to_rle=True,
                detection_threshold=_LOWEST_SCORE,
                use_presence=True,
            ),
            maxdets=100,
            iou_type=kind,
            merge_predictions=True,
            pred_file_evaluators=[CocoEvaluatorOfflineWithPredFileEvaluators(truth, iou_type=kind)],
        )

    def _batches(self) -> Iterator[BatchedDatapoint]:
        dataset = Sam3ImageDataset(
            self.pictures.folder,
            self.pictures.content,
            measuring_transforms(self.side),
            max_ann_per_img=_MOST,
            multiplier=1,
            training=False,
            max_val_queries=_MOST,
            coco_json_loader=partial(COCO_FROM_JSON, category_chunk_size=_CHUNK),
        )
        for index in range(len(dataset)):
            yield collate_fn_api([dataset[index]], KEY)[KEY]

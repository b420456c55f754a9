"""Post-processors: from a model's outputs to scores, labels, boxes and masks of pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..model.box_ops import box_cxcywh_to_xyxy
from ..model.data_misc import BatchedInferenceMetadata
from ..model.grounding_results import LOW_RES, full_size_masks, iter_masks
from ..model.outputs import SAM3Output
from .rle import rle_encode


class PostProcessNullOp(nn.Module):
    """Hands results on as they are, for models that give them by video id already."""

    def process_results(
        self, find_stages: Any, find_metadatas: Sequence[BatchedInferenceMetadata], **kwargs: Any
    ) -> Any:
        """Return ``find_stages``."""
        return find_stages


@dataclass(frozen=True)
class Detections:
    """Queries of one picture that were kept: n of them, best first once they are limited.

    scores [n], labels [n] int64, boxes [n, 4] xyxy, mask_logits [n, h, w] or None.
    """

    scores: Tensor
    labels: Tensor
    boxes: Tensor
    mask_logits: Tensor | None

    @classmethod
    def join(cls, parts: Sequence[Detections]) -> Detections:
        """All detections of several prompts about one picture."""
        logits = [p.mask_logits for p in parts if p.mask_logits is not None]
        return cls(
            torch.cat([p.scores for p in parts]),
            torch.cat([p.labels for p in parts]),
            torch.cat([p.boxes for p in parts]),
            torch.cat(logits) if logits else None,
        )

    def best(self, number: int) -> Detections:
        """The ``number`` highest scores, in descending order; all as they are if it is not > 0."""
        if number <= 0:
            return self
        order = self.scores.argsort(descending=True, stable=True)[:number]
        logits = None if self.mask_logits is None else self.mask_logits[order]
        return Detections(self.scores[order], self.labels[order], self.boxes[order], logits)


class PostProcessImage(nn.Module):
    """Results of the image model, grouped by picture.

    Args:
        max_dets_per_img: keep so many detections of a picture, the best; all if not above 0.
        iou_type: "bbox" gives boxes only, "segm" masks as well.
        use_original_ids: group by the id of the original picture, with its categories as labels;
            otherwise by ``coco_image_id``, with label 1 for all.
        use_original_sizes_box: boxes in pixels of the original picture; otherwise in [0, 1].
        use_original_sizes_mask: masks of the size of the original picture; otherwise of the
            size the model gives.
        convert_mask_to_rle: masks as compressed run lengths, made one at a time.
        detection_threshold: keep scores above this.
        use_presence: multiply scores by the probability that the prompt is there at all.
    """

    def __init__(
        self,
        max_dets_per_img: int = -1,
        iou_type: str = "bbox",
        use_original_ids: bool = False,
        use_original_sizes_box: bool = False,
        use_original_sizes_mask: bool = False,
        convert_mask_to_rle: bool = False,
        detection_threshold: float = -1.0,
        use_presence: bool = False,
    ) -> None:
        super().__init__()
        if iou_type not in ("bbox", "segm"):
            raise InputError(f"iou_type must be 'bbox' or 'segm', got {iou_type!r}")
        self.max_dets_per_img = max_dets_per_img
        self.iou_type = iou_type
        self.use_original_ids = use_original_ids
        self.use_original_sizes_box = use_original_sizes_box
        self.use_original_sizes_mask = use_original_sizes_mask
        self.convert_mask_to_rle = convert_mask_to_rle
        self.detection_threshold = detection_threshold
        self.use_presence = use_presence

    @torch.no_grad()
    def process_results(
        self, find_stages: Any, find_metadatas: Sequence[BatchedInferenceMetadata], **kwargs: Any
    ) -> dict[int, dict[str, Any]]:
        """Detections of every picture of a batch.

        Args:
            find_stages: per stage the output dict, or the list of those of its steps, of which
                the last counts: ``pred_logits (B, Q, 1)``, ``pred_boxes (B, Q, 4)`` normalised
                cxcywh, ``presence_logit_dec (B, 1)``, ``pred_masks (B, Q, h, w)``.
            find_metadatas: origin of the B prompts of each stage.

        Returns:
            by picture id: ``scores`` [n], ``labels`` [n], ``boxes`` [n, 4] xyxy on the CPU, and for
            "segm" either ``masks`` bool [n, H, W] or ``masks_rle``, a list of n.
        """
        found: dict[int, list[Detections]] = {}
        sizes: dict[int, tuple[int, int]] = {}
        stages = list(last_steps(find_stages))
        if len(stages) != len(find_metadatas):
            raise InputError(f"{len(stages)} stages of outputs, {len(find_metadatas)} of metadata")
        for outputs, metadata in zip(stages, find_metadatas, strict=True):
            ids = metadata.original_image_id if self.use_original_ids else metadata.coco_image_id
            heights_widths = metadata.original_size.tolist()
            for prompt, (image_id, size) in enumerate(
                zip(ids.tolist(), heights_widths, strict=True)
            ):
                sizes[image_id] = (int(size[0]), int(size[1]))
                label = int(metadata.original_category_id[prompt]) if self.use_original_ids else 1
                kept = self._kept(outputs, prompt, label, sizes[image_id])
                found.setdefault(image_id, []).append(kept)
        return {
            image_id: self._result(
                Detections.join(parts).best(self.max_dets_per_img), sizes[image_id]
            )
            for image_id, parts in found.items()
        }

    def _kept(
        self, outputs: Mapping[str, Any], prompt: int, label: int, size: tuple[int, int]
    ) -> Detections:
        scores = outputs["pred_logits"][prompt].float().sigmoid().squeeze(-1)
        if self.use_presence:
            scores = scores * self._presence(outputs)[prompt]
        keep = scores > self.detection_threshold
        boxes = box_cxcywh_to_xyxy(outputs["pred_boxes"][prompt][keep].float())
        if self.use_original_sizes_box:
            height, width = size
            boxes = boxes * boxes.new_tensor([width, height, width, height])
        scores = scores[keep]
        return Detections(
            scores,
            torch.full(scores.shape, label, dtype=torch.int64, device=scores.device),
            boxes,
            self._masks(outputs)[prompt][keep] if self.iou_type == "segm" else None,
        )

    @staticmethod
    def _presence(outputs: Mapping[str, Any]) -> Tensor:
        logit = outputs.get("presence_logit_dec")
        if logit is None:
            raise InputError(
                "use_presence=True needs outputs['presence_logit_dec'], which this model does not "
                "give: set use_presence=False"
            )
        return logit.float().sigmoid().reshape(-1)

    @staticmethod
    def _masks(outputs: Mapping[str, Any]) -> Tensor:
        masks = outputs.get("pred_masks")
        if masks is None:
            raise InputError(
                "iou_type='segm' needs outputs['pred_masks']: build the model with "
                "enable_segmentation=True"
            )
        return masks

    def _result(self, kept: Detections, size: tuple[int, int]) -> dict[str, Any]:
        result: dict[str, Any] = {
            "scores": kept.scores.cpu(),
            "labels": kept.labels.cpu(),
            "boxes": kept.boxes.cpu(),
        }
        if kept.mask_logits is None:
            return result
        logits = kept.mask_logits[:, None]
        if not self.use_original_sizes_mask:
            size = (logits.shape[-2], logits.shape[-1])
        if self.convert_mask_to_rle:
            state = {LOW_RES: logits, "original_height": size[0], "original_width": size[1]}
            result["masks_rle"] = rle_encode(iter_masks(state))
        else:
            result["masks"] = full_size_masks(logits, size, as_bool=True)[:, 0].cpu()
        return result


def last_steps(find_stages: Any) -> Iterator[Mapping[str, Any]]:
    """The output dict of every stage; of several interactive steps, the last."""
    stages = find_stages.output if isinstance(find_stages, SAM3Output) else find_stages
    for steps in stages:
        yield steps if isinstance(steps, Mapping) else steps[-1]

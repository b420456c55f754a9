"""Conversion of collated targets to the dictionary that matchers and losses read."""

from __future__ import annotations

from typing import Any

import torch

from ..model.box_ops import box_cxcywh_to_xyxy
from ..model.data_misc import BatchedFindTarget


def back_convert(targets: BatchedFindTarget) -> dict[str, Any]:
    """Turn the targets of one stage into a dict.

    Args:
        targets: collated targets; N boxes over B prompts, at most T per prompt.

    Returns:
        ``boxes``, ``boxes_xyxy`` (N, 4), ``boxes_padded`` (B, T, 4) normalised;
        ``positive_map`` ones (N, 1); ``num_boxes`` (B); ``masks`` (N, H, W) or None;
        ``semantic_masks``; ``is_valid_mask`` (N) or None; ``is_exhaustive`` (B);
        ``object_ids_packed`` (N); ``object_ids_padded`` (B, T), -1 = padding.
    """
    boxes = targets.boxes.reshape(-1, 4)
    return {
        "boxes": boxes,
        "boxes_xyxy": box_cxcywh_to_xyxy(boxes),
        "boxes_padded": targets.boxes_padded,
        "positive_map": torch.ones(len(boxes), 1, device=boxes.device),
        "num_boxes": targets.num_boxes,
        "masks": targets.segments,
        "semantic_masks": targets.semantic_segments,
        "is_valid_mask": targets.is_valid_segment,
        "is_exhaustive": targets.is_exhaustive,
        "object_ids_packed": targets.object_ids,
        "object_ids_padded": targets.object_ids_padded,
    }

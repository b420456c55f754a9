"""What the image model does with ground truth: target dicts, matching, rows worth computing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from .box_ops import box_cxcywh_to_xyxy
from .data_misc import BatchedFindTarget


def back_convert(targets: BatchedFindTarget) -> dict[str, Any]:
    """Target record -> the dict that matchers and losses read (boxes also as corners)."""
    boxes = targets.boxes.view(-1, 4)
    return {
        "boxes": boxes,
        "boxes_xyxy": box_cxcywh_to_xyxy(boxes),
        "boxes_padded": targets.boxes_padded,
        "positive_map": boxes.new_ones(len(boxes), 1),
        "num_boxes": targets.num_boxes,
        "masks": targets.segments,
        "semantic_masks": targets.semantic_segments,
        "is_valid_mask": targets.is_valid_segment,
        "is_exhaustive": targets.is_exhaustive,
        "object_ids_packed": targets.object_ids,
        "object_ids_padded": targets.object_ids_padded,
    }


def match_layers(
    out: dict[str, Any], targets: BatchedFindTarget, matcher: Callable[..., Any]
) -> None:
    """Store the matcher's ``indices`` in the output and in every auxiliary output."""
    converted = back_convert(targets)
    for layer in (out, *out.get("aux_outputs", ())):
        layer["indices"] = matcher(layer, converted)


def rows_with_objects(targets: BatchedFindTarget) -> Tensor:
    """Prompts that have an object, at least one row: [n] int64."""
    rows = targets.num_boxes.nonzero().flatten()
    return rows if len(rows) else rows.new_zeros(1)


def scatter_rows(values: Tensor, rows: Tensor, batch: int) -> Tensor:
    """[n, ...] at ``rows`` of a zero tensor [batch, ...]."""
    return values.new_zeros((batch, *values.shape[1:])).index_copy(0, rows, values)


def split_o2m(layer: dict[str, Any], num_queries: int) -> dict[str, Any]:
    """Move the one-to-many half of the queries, if there is one, to ``*_o2m`` keys."""
    if layer["queries"].shape[1] == num_queries:
        return layer
    split = dict(layer)
    for key in ("queries", "pred_logits", "pred_boxes", "pred_boxes_xyxy"):
        values = layer[key]
        split[key], split[f"{key}_o2m"] = values[:, :num_queries], values[:, num_queries:]
    return split

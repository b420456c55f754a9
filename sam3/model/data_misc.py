"""Batches that models and losses share, and an ``interpolate`` that survives empty tensors.

Every field of a batch record has a class attribute ``<field>__type`` with the dtype that
:func:`convert_my_tensors` gives it. Padding masks are True where an entry is padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor


def interpolate(
    input: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """``F.interpolate`` for [N, C, H, W] that also takes N = 0 or C = 0.

    Returns [N, C, H', W'] in the input's dtype. An empty batch swaps places with the channels,
    because the kernels refuse a batch of none.
    """
    if input.numel():
        return F.interpolate(input, size, scale_factor, mode, align_corners)
    if input.shape[0] == 0 and input.shape[1] == 0:
        raise ValueError(f"interpolate needs a batch or a channel, got shape {tuple(input.shape)}")
    if input.shape[0] != 0:
        return F.interpolate(
            input.transpose(0, 1), size, scale_factor, mode, align_corners
        ).transpose(0, 1)
    return F.interpolate(input, size, scale_factor, mode, align_corners)


@dataclass
class BatchedPointer:
    """Links between find queries of different stages: [n] int64 each."""

    stage_ids: Tensor
    stage_ids__type: ClassVar[torch.dtype] = torch.long
    query_ids: Tensor
    query_ids__type: ClassVar[torch.dtype] = torch.long
    object_ids: Tensor
    object_ids__type: ClassVar[torch.dtype] = torch.long
    ptr_mask: Tensor
    ptr_mask__type: ClassVar[torch.dtype] = torch.bool
    ptr_types: Tensor
    ptr_types__type: ClassVar[torch.dtype] = torch.long


@dataclass
class FindStage:
    """What B find queries ask: query b looks at image ``img_ids[b]`` with caption ``text_ids[b]``.

    img_ids, text_ids:   [B] int64; text_ids indexes the unique captions
    input_boxes:         [n, B, 4] float32, normalised cxcywh, 0 where padded
    input_boxes_mask:    [B, n] bool, True = padding
    input_boxes_label:   [n, B] int64, 1 positive, 0 negative
    input_points:        [B, m, 3 or 257] float32, 0 where padded
    input_points_mask:   [B, m] bool, True = padding
    object_ids:          per query the ids of its target objects, or None
    """

    img_ids: Tensor
    img_ids__type: ClassVar[torch.dtype] = torch.long
    text_ids: Tensor
    text_ids__type: ClassVar[torch.dtype] = torch.long
    input_boxes: Tensor | None
    input_boxes__type: ClassVar[torch.dtype] = torch.float32
    input_boxes_mask: Tensor | None
    input_boxes_mask__type: ClassVar[torch.dtype] = torch.bool
    input_boxes_label: Tensor | None
    input_boxes_label__type: ClassVar[torch.dtype] = torch.long
    input_points: Tensor | None
    input_points__type: ClassVar[torch.dtype] = torch.float32
    input_points_mask: Tensor | None
    input_points_mask__type: ClassVar[torch.dtype] = torch.bool
    object_ids: list[list[int]] | None = None

    @classmethod
    def for_texts(cls, img_ids: Tensor, text_ids: Tensor) -> FindStage:
        """A stage without boxes or points. img_ids, text_ids: [B] int64."""
        return cls(
            img_ids=img_ids,
            text_ids=text_ids,
            input_boxes=None,
            input_boxes_mask=None,
            input_boxes_label=None,
            input_points=None,
            input_points_mask=None,
        )


@dataclass
class BatchedFindTarget:
    """Ground truth of B find queries with N boxes in all (packed) and at most T per query (padded).

    num_boxes [B] int64; boxes [N, 4] and boxes_padded [B, T, 4] float32 normalised cxcywh;
    repeated_boxes [R, 4]; segments [N, H, W] bool or None; semantic_segments bool or None;
    is_valid_segment [N] bool or None; is_exhaustive [B] bool; object_ids [N] and
    object_ids_padded [B, T] int64, -1 where padded.
    """

    num_boxes: Tensor
    num_boxes__type: ClassVar[torch.dtype] = torch.long
    boxes: Tensor
    boxes__type: ClassVar[torch.dtype] = torch.float32
    boxes_padded: Tensor
    boxes_padded__type: ClassVar[torch.dtype] = torch.float32
    repeated_boxes: Tensor | None
    repeated_boxes__type: ClassVar[torch.dtype] = torch.float32
    segments: Tensor | None
    segments__type: ClassVar[torch.dtype] = torch.bool
    semantic_segments: Tensor | None
    semantic_segments__type: ClassVar[torch.dtype] = torch.bool
    is_valid_segment: Tensor | None
    is_valid_segment__type: ClassVar[torch.dtype] = torch.bool
    is_exhaustive: Tensor
    is_exhaustive__type: ClassVar[torch.dtype] = torch.bool
    object_ids: Tensor
    object_ids__type: ClassVar[torch.dtype] = torch.long
    object_ids_padded: Tensor
    object_ids_padded__type: ClassVar[torch.dtype] = torch.long


@dataclass
class BatchedInferenceMetadata:
    """Origin of B queries: ids [B] int64 (category int32), original_size [B, 2] int64 (h, w)."""

    coco_image_id: Tensor
    coco_image_id__type: ClassVar[torch.dtype] = torch.long
    original_image_id: Tensor
    original_image_id__type: ClassVar[torch.dtype] = torch.long
    original_category_id: Tensor
    original_category_id__type: ClassVar[torch.dtype] = torch.int
    original_size: Tensor
    original_size__type: ClassVar[torch.dtype] = torch.long
    object_id: Tensor
    object_id__type: ClassVar[torch.dtype] = torch.long
    frame_index: Tensor
    frame_index__type: ClassVar[torch.dtype] = torch.long
    is_conditioning_only: list[bool | None]


@dataclass
class BatchedDatapoint:
    """One batch: I images, unique captions, and one find stage (with target and metadata) per step.

    img_batch [I, 3, H, W] float, already normalised; find_text_batch lists each caption once.
    """

    img_batch: Tensor
    img_batch__type: ClassVar[torch.dtype] = torch.float32
    find_text_batch: list[str]
    find_inputs: list[FindStage]
    find_targets: list[BatchedFindTarget]
    find_metadatas: list[BatchedInferenceMetadata]
    raw_images: list[Any] | None = None


def convert_my_tensors(obj: Any) -> Any:
    """Turn list fields of a batch record into tensors of their ``<field>__type``, in place."""
    for field in fields(obj):
        dtype = getattr(type(obj), f"{field.name}__type", None)
        value = getattr(obj, field.name)
        if dtype is None or value is None:
            continue
        if isinstance(value, Tensor):
            setattr(obj, field.name, value.to(dtype))
        elif len(value) and isinstance(value[0], Tensor):
            setattr(obj, field.name, torch.stack(list(value)).to(dtype))
        else:
            setattr(obj, field.name, torch.as_tensor(value, dtype=dtype))
    return obj

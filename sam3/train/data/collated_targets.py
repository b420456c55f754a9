"""The right answers of one stage as tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...errors import InputError
from ...model.data_misc import BatchedFindTarget, convert_my_tensors
from .datapoint import FindQueryLoaded, Image, Object
from .padding import packed_to_padded_naive

PADDED_ID = -1


def collate_targets(
    stage: Sequence[tuple[FindQueryLoaded, Image]], with_seg_masks: bool, repeats: int
) -> BatchedFindTarget:
    """Answers to the queries of one stage.

    Args:
        stage: queries, each with its picture; boxes as fractions (cxcywh).
        with_seg_masks: also masks; objects without one get zeros and ``is_valid_segment`` False.
        repeats: copies of each query's boxes in ``repeated_boxes``.

    Returns:
        Boxes keep the shape that transforms gave them: [N, 4], or [N, 1, 4] once resized.

    Raises:
        InputError: masks that are no tensors or not of their picture's size.
    """
    objects = [[image.objects[i] for i in query.object_ids_output] for query, image in stage]
    packed = [item for group in objects for item in group]
    counts = [len(group) for group in objects]
    boxes = _boxes(packed)
    ids = torch.tensor([item.object_id for item in packed], dtype=torch.long)
    valid = torch.tensor([item.segment is not None for item in packed])
    made = BatchedFindTarget(
        num_boxes=torch.tensor(counts),
        boxes=boxes,
        boxes_padded=packed_to_padded_naive(boxes.reshape(-1, 4), counts),
        repeated_boxes=_boxes([item for group in objects for item in group * repeats]),
        segments=_segments(stage) if with_seg_masks else None,
        semantic_segments=_semantic_segments(stage),
        is_valid_segment=valid if with_seg_masks else None,
        is_exhaustive=torch.tensor([query.is_exhaustive for query, _ in stage]),
        object_ids=ids,
        object_ids_padded=packed_to_padded_naive(ids, counts, PADDED_ID),
    )
    return convert_my_tensors(made)


def _boxes(objects: list[Object]) -> Tensor:
    return torch.stack([item.bbox for item in objects]) if objects else torch.zeros(0, 4)


def _segments(stage: Sequence[tuple[FindQueryLoaded, Image]]) -> Tensor:
    """bool [N, H, W]."""
    masks = [
        _mask(image.objects[i], image) for query, image in stage for i in query.object_ids_output
    ]
    return torch.stack(masks) if masks else torch.zeros(0, *stage[0][1].size, dtype=torch.bool)


def _mask(item: Object, image: Image) -> Tensor:
    """bool [H, W], all False without a segment."""
    if item.segment is None:
        return torch.zeros(image.size, dtype=torch.bool)
    if not isinstance(item.segment, Tensor) or item.segment.shape != image.size:
        found = list(item.segment.shape) if isinstance(item.segment, Tensor) else "run lengths"
        raise InputError(
            f"masks must be tensors of their picture's size {list(image.size)}, got {found}; put "
            "DecodeRle before the transforms that move pixels"
        )
    return item.segment.bool()


def _semantic_segments(stage: Sequence[tuple[FindQueryLoaded, Image]]) -> Tensor:
    """bool [B, H, W], or [0] where no query has a mask of everything that matches.

    A query without such a mask gets the union of its objects' masks.
    """
    if all(query.semantic_target is None for query, _ in stage):
        return torch.zeros(0, dtype=torch.bool)
    masks = []
    for query, image in stage:
        union = torch.zeros(image.size, dtype=torch.bool)
        for i in query.object_ids_output:
            union |= _mask(image.objects[i], image)
        given = query.semantic_target
        masks.append(union if given is None else given.bool())
    return torch.stack(masks)

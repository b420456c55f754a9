"""Datapoints -> one ``BatchedDatapoint``: pictures stacked, queries by stage, answers packed.

Row b of every record of a stage is the b-th query of that stage: datapoints in order, and within
each its queries in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...errors import InputError
from ...model.data_misc import (
    BatchedDatapoint,
    BatchedFindTarget,
    BatchedInferenceMetadata,
    FindStage,
    convert_my_tensors,
)
from .collated_targets import collate_targets
from .datapoint import Datapoint, FindQueryLoaded, Image
from .padding import packed_to_padded_naive

__all__ = ["collate_fn_api", "collate_fn_api_with_chunking", "packed_to_padded_naive"]

# A query, and the picture it is about with its place in the batch.
Asked = tuple[FindQueryLoaded, Image, int]


def collate_fn_api(
    batch: Sequence[Datapoint],
    dict_key: str,
    with_seg_masks: bool = False,
    input_points_embedding_dim: int = 257,
    repeats: int = 0,
    load_image_in_fp16: bool = False,
) -> dict[str, BatchedDatapoint]:
    """One batch under its key.

    Args:
        batch: normalised datapoints whose pictures have one size.
        dict_key: names the data set for losses and meters.
        with_seg_masks: also collate masks.
        input_points_embedding_dim: last dimension of ``input_points`` where no query has points.
        repeats: copies of each query's boxes in ``repeated_boxes``.
        load_image_in_fp16: pictures as float16.

    Raises:
        InputError: no datapoint, pictures of different sizes or that are no tensors, or a stage
            without query.
    """
    texts: dict[str, int] = {}
    stages: dict[int, list[Asked]] = {}
    images: list[Image] = []
    for datapoint in batch:
        for query in datapoint.find_queries:
            texts.setdefault(query.query_text, len(texts))
            asked = query, datapoint.images[query.image_id], len(images) + query.image_id
            stages.setdefault(query.query_processing_order, []).append(asked)
        images.extend(datapoint.images)
    if not stages or sorted(stages) != list(range(len(stages))):
        raise InputError(
            f"a batch needs queries in all stages from 0 on, got stages {sorted(stages)}"
        )
    ordered = [stages[number] for number in range(len(stages))]
    raw = [picture for datapoint in batch for picture in datapoint.raw_images or ()]
    made = BatchedDatapoint(
        img_batch=_stack_images(images, torch.float16 if load_image_in_fp16 else torch.float32),
        find_text_batch=list(texts),
        find_inputs=[_find_stage(s, texts, input_points_embedding_dim) for s in ordered],
        find_targets=[_targets(s, with_seg_masks, repeats) for s in ordered],
        find_metadatas=[_metadata(s) for s in ordered],
        raw_images=raw or None,
    )
    return {dict_key: made}


def collate_fn_api_with_chunking(
    batch: Sequence[Datapoint], num_chunks: int, dict_key: str, **options: Any
) -> list[dict[str, BatchedDatapoint]]:
    """``num_chunks`` batches for gradient accumulation; chunk c gets datapoints c, c + n, ...

    ``options`` as for :func:`collate_fn_api`. Raises InputError for fewer datapoints than chunks.
    """
    if not 1 <= num_chunks <= len(batch):
        raise InputError(
            f"{len(batch)} datapoints cannot be split into {num_chunks} chunks; use a batch size "
            "of at least the number of chunks"
        )
    return [collate_fn_api(batch[c::num_chunks], dict_key, **options) for c in range(num_chunks)]


def _stack_images(images: list[Image], dtype: torch.dtype) -> Tensor:
    """[I, 3, H, W]."""
    tensors = [image.data for image in images if isinstance(image.data, Tensor)]
    sizes = sorted({tuple(t.shape[-2:]) for t in tensors})
    if len(tensors) < len(images) or len(sizes) != 1:
        raise InputError(
            f"the pictures of a batch must be tensors of one size, got sizes {sizes} and "
            f"{len(images) - len(tensors)} that are no tensors; resize to a square or pad, then "
            "use ToTensorAPI and NormalizeAPI"
        )
    return torch.stack(tensors).to(dtype)


def _find_stage(stage: list[Asked], texts: dict[str, int], points_dim: int) -> FindStage:
    queries = [query for query, _, _ in stage]
    boxes = [_rows(q.input_bbox, 4) for q in queries]
    labels = [_labels(q) for q in queries]
    points = [_rows(q.input_points, 3) for q in queries]
    num_boxes, num_points = ([len(v) for v in rows] for rows in (boxes, points))
    if not any(num_points):
        points = [torch.zeros(0, points_dim) for _ in queries]
    made = FindStage(
        img_ids=torch.tensor([number for _, _, number in stage]),
        text_ids=torch.tensor([texts[q.query_text] for q in queries]),
        input_boxes=packed_to_padded_naive(torch.cat(boxes), num_boxes).transpose(0, 1),
        input_boxes_mask=_padding(num_boxes),
        input_boxes_label=packed_to_padded_naive(torch.cat(labels), num_boxes).transpose(0, 1),
        input_points=packed_to_padded_naive(torch.cat(points), num_points),
        input_points_mask=_padding(num_points),
        object_ids=[
            [image.objects[i].object_id for i in q.object_ids_output] for q, image, _ in stage
        ],
    )
    return convert_my_tensors(made)


def _rows(values: Tensor | None, dimension: int) -> Tensor:
    """Boxes or points of a query as [n, dimension], n = 0 for None."""
    return torch.zeros(0, dimension) if values is None else values.reshape(-1, dimension)


def _labels(query: FindQueryLoaded) -> Tensor:
    """[n] int64; boxes without labels are positive."""
    count = len(_rows(query.input_bbox, 4))
    if query.input_bbox_label is None:
        return torch.ones(count, dtype=torch.long)
    return query.input_bbox_label.reshape(-1).long()


def _padding(counts: list[int]) -> Tensor:
    """[B] counts -> bool [B, max], True = padding."""
    return torch.arange(max(counts))[None] >= torch.tensor(counts)[:, None]


def _targets(stage: list[Asked], with_masks: bool, repeats: int) -> BatchedFindTarget:
    return collate_targets([(query, image) for query, image, _ in stage], with_masks, repeats)


def _metadata(stage: list[Asked]) -> BatchedInferenceMetadata:
    origins = []
    for query, _, _ in stage:
        if query.inference_metadata is None:
            raise InputError(f"the query {query.query_text!r} has no inference_metadata")
        origins.append(query.inference_metadata)
    made = BatchedInferenceMetadata(
        coco_image_id=torch.tensor([m.coco_image_id for m in origins]),
        original_image_id=torch.tensor([m.original_image_id for m in origins]),
        original_category_id=torch.tensor([m.original_category_id for m in origins]),
        original_size=torch.tensor([tuple(m.original_size) for m in origins]),
        object_id=torch.tensor([m.object_id for m in origins]),
        frame_index=torch.tensor([m.frame_index for m in origins]),
        is_conditioning_only=[m.is_conditioning_only for m in origins],
    )
    return convert_my_tensors(made)

"""Packs pictures, label maps and questions into one ``BatchedDatapoint``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ....model.data_misc import (
    BatchedDatapoint,
    BatchedFindTarget,
    BatchedInferenceMetadata,
    FindStage,
)
from .augment import plain_curve


@dataclass(frozen=True)
class Question:
    """One query: picture, phrase, target objects, all boxes [n, 4] of the picture, prompt box."""

    image: int
    text: str
    targets: tuple[int, ...]
    boxes: np.ndarray
    prompt_box: np.ndarray | None = None


def assemble(
    images: Sequence[tuple[np.ndarray, np.ndarray | None]],
    label_maps: Sequence[np.ndarray],
    questions: Sequence[Question],
    mask_size: int,
) -> BatchedDatapoint:
    """Build the batch.

    images: (uint8 [R, R, 3], tone curve [256, 3] or None) per picture; label_maps: uint8 [R, R];
    mask_size: side of the target masks. Object ids are unique over the batch.
    """
    texts = list(dict.fromkeys(q.text for q in questions))
    numbers = {text: i for i, text in enumerate(texts)}
    pixels = torch.stack([_normalise(image, curve) for image, curve in images])
    ids = [[q.image * 100 + k for k in q.targets] for q in questions]
    stage = _find_stage(questions, numbers, ids)
    target = _find_target(questions, ids, label_maps, mask_size)
    return BatchedDatapoint(
        img_batch=pixels,
        find_text_batch=texts,
        find_inputs=[stage],
        find_targets=[target],
        find_metadatas=[_metadata(questions, label_maps)],
    )


def _normalise(image: np.ndarray, curve: np.ndarray | None) -> Tensor:
    """uint8 [R, R, 3] -> float32 [3, R, R] through the tone curve."""
    curve = plain_curve() if curve is None else curve
    planes = [np.take(curve[:, c], np.ascontiguousarray(image[..., c])) for c in range(3)]
    return torch.from_numpy(np.stack(planes))


def _find_stage(
    questions: Sequence[Question], numbers: dict[str, int], ids: list[list[int]]
) -> FindStage:
    count = len(questions)
    slots = int(any(q.prompt_box is not None for q in questions))
    boxes = torch.zeros(slots, count, 4)
    padding = torch.ones(count, slots, dtype=torch.bool)
    for row, question in enumerate(questions):
        if question.prompt_box is not None:
            boxes[0, row] = torch.from_numpy(question.prompt_box)
            padding[row, 0] = False
    return FindStage(
        img_ids=torch.tensor([q.image for q in questions]),
        text_ids=torch.tensor([numbers[q.text] for q in questions]),
        input_boxes=boxes,
        input_boxes_mask=padding,
        input_boxes_label=(~padding).long().T.contiguous(),
        input_points=torch.zeros(count, 0, 3),
        input_points_mask=torch.ones(count, 0, dtype=torch.bool),
        object_ids=ids,
    )


def _find_target(
    questions: Sequence[Question],
    ids: list[list[int]],
    label_maps: Sequence[np.ndarray],
    mask_size: int,
) -> BatchedFindTarget:
    counts = [len(q.targets) for q in questions]
    longest = max(counts, default=0)
    padded = torch.zeros(len(questions), longest, 4)
    padded_ids = torch.full((len(questions), longest), -1)
    packed = [torch.from_numpy(q.boxes[list(q.targets)]) for q in questions]
    for row, (boxes, own) in enumerate(zip(packed, ids, strict=True)):
        padded[row, : len(own)] = boxes
        padded_ids[row, : len(own)] = torch.tensor(own, dtype=torch.long)
    total = sum(counts)
    return BatchedFindTarget(
        num_boxes=torch.tensor(counts),
        boxes=torch.cat(packed).float().reshape(-1, 4),
        boxes_padded=padded,
        repeated_boxes=None,
        segments=target_masks(questions, label_maps, mask_size),
        semantic_segments=None,
        is_valid_segment=torch.ones(total, dtype=torch.bool),
        is_exhaustive=torch.ones(len(questions), dtype=torch.bool),
        object_ids=torch.tensor([k for own in ids for k in own], dtype=torch.long),
        object_ids_padded=padded_ids,
    )


def target_masks(
    questions: Sequence[Question], label_maps: Sequence[np.ndarray], mask_size: int
) -> Tensor:
    """Masks of all targets in packed order: [N, mask_size, mask_size] bool, True if half covered.

    An object too thin to cover half of any cell keeps the cells it covers most.
    """
    wanted = [(q.image, k + 1) for q in questions for k in q.targets]
    if not wanted:
        return torch.zeros(0, mask_size, mask_size, dtype=torch.bool)
    stack = np.stack([label_maps[image] == label for image, label in wanted])
    share = torch.nn.functional.adaptive_avg_pool2d(
        torch.from_numpy(stack).float()[:, None], mask_size
    )[:, 0]
    peak = share.amax((1, 2), keepdim=True)
    return (share >= peak.clamp(max=0.5)) & (share > 0)


def _metadata(
    questions: Sequence[Question], label_maps: Sequence[np.ndarray]
) -> BatchedInferenceMetadata:
    """Training has no data set ids, so they are -1."""
    count = len(questions)
    none = torch.full((count,), -1)
    sizes = [label_maps[q.image].shape for q in questions]
    return BatchedInferenceMetadata(
        coco_image_id=none,
        original_image_id=none.clone(),
        original_category_id=none.int(),
        original_size=torch.tensor(sizes, dtype=torch.long).reshape(count, 2),
        object_id=none.clone(),
        frame_index=none.clone(),
        is_conditioning_only=[False] * count,
    )

"""Half precision against float32, and Triton kernels against their CPU twins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sam3.perflib import capabilities
from sam3.perflib.masks_ops import mask_iou, masks_to_boxes
from sam3.perflib.nms import generic_nms_cpu

from .common import time_repeatedly
from .stages import Staged

COSINE, IOU_MEAN, IOU_MIN, SCORE, BOX_PX = 0.999, 0.995, 0.98, 0.02, 1.0
TOP = 20
Rows = list[dict[str, Any]]


def gate(name: str, value: float, limit: float, at_least: bool) -> dict[str, Any]:
    """One checked number."""
    passed = value >= limit if at_least else value <= limit
    sign = ">=" if at_least else "<="
    return {"check": name, "value": value, "limit": f"{sign} {limit}", "passed": bool(passed)}


def compare_precisions(reference: Staged, other: Staged, name: str, trained: bool = True) -> Rows:
    """Cosine per stage; scores, boxes and masks of the reference's highest-scored queries.

    ``trained`` False: masks and boxes are reported but not judged (``passed`` None), because
    untrained mask logits hover around zero and untrained boxes are ill-conditioned.
    """
    rows = []
    ours = other.results()
    for stage, expected in reference.results().items():
        cosine = torch.nn.functional.cosine_similarity(
            expected.flatten().double(), ours[stage].flatten().double(), dim=0
        )
        rows.append(gate(f"{name} cosine, {stage}", float(cosine), COSINE, at_least=True))
    scores, boxes, masks = reference.detections()
    scores2, boxes2, masks2 = other.detections()
    ious = []
    box_error = 0.0
    for row in range(scores.shape[0]):
        top = scores[row].topk(min(TOP, scores.shape[1])).indices
        ious.append(_pairwise_iou(masks[row, top] > 0, masks2[row, top] > 0))
        box_error = max(box_error, float((boxes[row, top] - boxes2[row, top]).abs().max()))
    iou = torch.cat(ious)
    score_error = float((scores - scores2).abs().max())
    rows.append(gate(f"{name} score difference", score_error, SCORE, at_least=False))
    found = [
        gate(f"{name} mask IoU, mean of top {TOP}", float(iou.mean()), IOU_MEAN, at_least=True),
        gate(f"{name} mask IoU, least of top {TOP}", float(iou.min()), IOU_MIN, at_least=True),
        gate(f"{name} box difference, pixels", box_error, BOX_PX, at_least=False),
    ]
    return rows + [row if trained else row | {"passed": None} for row in found]


def _pairwise_iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU of masks [n, h, w] one to one; two empty masks agree."""
    inter = (first & second).flatten(1).sum(1)
    union = (first | second).flatten(1).sum(1)
    return torch.where(union > 0, inter / union.clamp(min=1), 1.0)


def random_masks(n: int, side: int, seed: int = 0) -> Tensor:
    """Overlapping filled boxes: bool [n, side, side]."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(n, 4, generator=generator)
    low = (corner[:, :2] * 0.7 * side).long()
    high = low + 1 + (corner[:, 2:] * 0.3 * side).long()
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    inside_x = (x >= low[:, 0, None, None]) & (x < high[:, 0, None, None])
    return inside_x & (y >= low[:, 1, None, None]) & (y < high[:, 1, None, None])


def compare_kernels(device: torch.device, sizes: Sequence[int], side: int) -> tuple[Rows, Rows]:
    """Mask functions on ``device`` against the CPU: (checks, times)."""
    checks: Rows = []
    times: Rows = []
    for n in sizes:
        masks = random_masks(n, side)
        scores = torch.rand(n, generator=torch.Generator().manual_seed(1))
        there = masks.to(device)
        expected = mask_iou(masks, masks)
        error = float((mask_iou(there, there).cpu() - expected).abs().max())
        checks.append(gate(f"mask_iou on {device.type}, n={n}, difference", error, 0.0, False))
        same = torch.equal(masks_to_boxes(there).cpu(), masks_to_boxes(masks))
        checks.append(gate(f"masks_to_boxes on {device.type}, n={n}, equal", same, 1, True))
        times.append(_timed(f"mask_iou n={n}", device, lambda m=there: mask_iou(m, m)))
        cpu = torch.device("cpu")
        twin = generic_nms_cpu(expected, scores, 0.5)
        times.append(
            _timed(f"nms numpy n={n}", cpu, lambda i=expected, s=scores: generic_nms_cpu(i, s, 0.5))
        )
        if capabilities.has_triton():
            checks.append(_triton_check(expected.to(device), scores.to(device), twin, n))
            times.append(_triton_time(expected.to(device), scores.to(device), n, device))
    return checks, times


def _triton_check(ious: Tensor, scores: Tensor, twin: Tensor, n: int) -> dict[str, Any]:
    from sam3.perflib.triton.nms import nms_triton

    same = torch.equal(nms_triton(ious, scores, 0.5).cpu(), twin)
    return gate(f"nms Triton = numpy, n={n}", same, 1, at_least=True)


def _triton_time(ious: Tensor, scores: Tensor, n: int, device: torch.device) -> dict[str, Any]:
    from sam3.perflib.triton.nms import nms_triton

    return _timed(f"nms Triton n={n}", device, lambda: nms_triton(ious, scores, 0.5))


def _timed(name: str, device: torch.device, action: Any) -> dict[str, Any]:
    times = sorted(time_repeatedly(action, device, repeats=5))
    return {"kernel": name, "device": str(device), "ms": times[len(times) // 2]}

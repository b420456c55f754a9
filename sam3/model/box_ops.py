"""Box formats and box geometry.

Formats, always in the last dimension of 4: ``xyxy`` (left, top, right, bottom), ``xywh`` (left,
top, width, height), ``cxcywh`` (centre, width, height). Units are the caller's: pixels or
fractions. All functions are differentiable and keep device and dtype; nothing is clamped.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InputError


def _check(*boxes: Tensor) -> None:
    for box in boxes:
        if box.ndim == 0 or box.shape[-1] != 4:
            raise InputError(f"boxes need a last dimension of 4, got shape {tuple(box.shape)}")


def _check_rows(first: Tensor, second: Tensor) -> None:
    _check(first, second)
    if first.shape != second.shape:
        raise InputError(
            f"element-wise boxes need one shape, got {tuple(first.shape)} and {tuple(second.shape)}"
        )


def box_cxcywh_to_xyxy(x: Tensor) -> Tensor:
    """[..., 4] cxcywh -> xyxy."""
    _check(x)
    cx, cy, w, h = x.unbind(-1)
    return torch.stack((cx - 0.5 * w, cy - 0.5 * h, cx + 0.5 * w, cy + 0.5 * h), dim=-1)


def box_cxcywh_to_xywh(x: Tensor) -> Tensor:
    """[..., 4] cxcywh -> xywh."""
    _check(x)
    cx, cy, w, h = x.unbind(-1)
    return torch.stack((cx - 0.5 * w, cy - 0.5 * h, w, h), dim=-1)


def box_xywh_to_xyxy(x: Tensor) -> Tensor:
    """[..., 4] xywh -> xyxy."""
    _check(x)
    left, top, w, h = x.unbind(-1)
    return torch.stack((left, top, left + w, top + h), dim=-1)


def box_xywh_to_cxcywh(x: Tensor) -> Tensor:
    """[..., 4] xywh -> cxcywh."""
    _check(x)
    left, top, w, h = x.unbind(-1)
    return torch.stack((left + 0.5 * w, top + 0.5 * h, w, h), dim=-1)


def box_xyxy_to_xywh(x: Tensor) -> Tensor:
    """[..., 4] xyxy -> xywh."""
    _check(x)
    x0, y0, x1, y1 = x.unbind(-1)
    return torch.stack((x0, y0, x1 - x0, y1 - y0), dim=-1)


def box_xyxy_to_cxcywh(x: Tensor) -> Tensor:
    """[..., 4] xyxy -> cxcywh."""
    _check(x)
    x0, y0, x1, y1 = x.unbind(-1)
    return torch.stack(((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0), dim=-1)


def box_area(boxes: Tensor) -> Tensor:
    """[..., 4] xyxy -> [...] areas; (right - left) * (bottom - top), not clamped."""
    _check(boxes)
    x0, y0, x1, y1 = boxes.unbind(-1)
    return (x1 - x0) * (y1 - y0)


def _inter_union(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection and union areas of broadcasting xyxy boxes."""
    size = torch.min(first[..., 2:], second[..., 2:]) - torch.max(first[..., :2], second[..., :2])
    inter = size.clamp(min=0).prod(-1)
    return inter, box_area(first) + box_area(second) - inter


def _generalized(iou: Tensor, union: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Subtract the empty share of the smallest enclosing box from ``iou``."""
    size = torch.max(first[..., 2:], second[..., 2:]) - torch.min(first[..., :2], second[..., :2])
    hull = size.clamp(min=0).prod(-1)
    return iou - (hull - union) / hull


def _pairs(boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor]:
    _check(boxes1, boxes2)
    if boxes1.ndim < 2 or boxes2.ndim < 2:
        raise InputError(
            "pairwise boxes need shapes [..., N, 4] and [..., M, 4], got "
            f"{tuple(boxes1.shape)} and {tuple(boxes2.shape)}"
        )
    return boxes1[..., :, None, :], boxes2[..., None, :, :]


def box_iou(boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor]:
    """Pairwise IoU of xyxy boxes: [..., N, 4] x [..., M, 4] -> (iou, union), each [..., N, M].

    No epsilon: two boxes without area give NaN.
    """
    inter, union = _inter_union(*_pairs(boxes1, boxes2))
    return inter / union, union


def generalized_box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Pairwise generalized IoU (-1..1) of xyxy boxes: [..., N, 4] x [..., M, 4] -> [..., N, M]."""
    iou, union = box_iou(boxes1, boxes2)
    return _generalized(iou, union, *_pairs(boxes1, boxes2))


def fast_diag_box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """IoU of xyxy boxes row by row: [..., 4] x [..., 4] -> [...]."""
    _check_rows(boxes1, boxes2)
    inter, union = _inter_union(boxes1, boxes2)
    return inter / union


def fast_diag_generalized_box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Generalized IoU of xyxy boxes row by row: [..., 4] x [..., 4] -> [...]."""
    _check_rows(boxes1, boxes2)
    inter, union = _inter_union(boxes1, boxes2)
    return _generalized(inter / union, union, boxes1, boxes2)


def box_xywh_inter_union(boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor]:
    """(intersection, union) areas of xywh boxes row by row: [..., 4] x [..., 4] -> [...] each."""
    _check_rows(boxes1, boxes2)
    return _inter_union(box_xywh_to_xyxy(boxes1), box_xywh_to_xyxy(boxes2))


def masks_to_boxes(masks: Tensor) -> Tensor:
    """[N, H, W] masks (non-zero = inside) -> [N, 4] float32 xyxy pixels.

    Right and bottom are exclusive (last pixel + 1); an empty mask gives [0, 0, 0, 0].
    """
    if masks.ndim != 3:
        raise InputError(f"masks need shape [N, H, W], got {tuple(masks.shape)}")
    if 0 in masks.shape:
        return torch.zeros(masks.shape[0], 4, dtype=torch.float32, device=masks.device)
    inside = masks != 0
    x0, x1 = _extent(inside.any(dim=1))
    y0, y1 = _extent(inside.any(dim=2))
    boxes = torch.stack((x0, y0, x1 + 1, y1 + 1), dim=1)
    return boxes.float() * inside.flatten(1).any(dim=1)[:, None]


def _extent(used: Tensor) -> tuple[Tensor, Tensor]:
    """[N, L] bool -> first and last True index per row; rows without one give (0, L - 1)."""
    used = used.to(torch.uint8)
    return used.argmax(dim=1), used.shape[1] - 1 - used.flip(1).argmax(dim=1)

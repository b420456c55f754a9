"""Pairwise IoU and bounding boxes of binary masks, with bounded memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import InputError

# Bytes of the two float32 slices that one step of mask_iou multiplies.
_SLICE_BYTES = 64 << 20
# Sums of 0/1 products are exact in float32 up to this count.
_EXACT_FLOAT32 = 1 << 24


def _check_masks(*masks: Tensor) -> None:
    for mask in masks:
        if mask.ndim != 3 or mask.dtype != torch.bool:
            raise InputError(
                f"masks must be bool [N, H, W], got {mask.dtype} {tuple(mask.shape)}; "
                "compare logits with 0 or probabilities with 0.5 first"
            )


def mask_iou(pred_masks: Tensor, gt_masks: Tensor) -> Tensor:
    """IoU of every pair of masks: bool [N, H, W] x bool [M, H, W] -> float32 [N, M].

    The union counts as at least 1, so two empty masks give 0. Intersections are matrix products
    over slices of pixels: beyond the result only about 64 MiB are needed. Counts are exact.

    Raises InputError for other dtypes, different sizes or different devices.
    """
    _check_masks(pred_masks, gt_masks)
    if pred_masks.shape[1:] != gt_masks.shape[1:] or pred_masks.device != gt_masks.device:
        raise InputError(
            "both sets of masks need one size and one device, got "
            f"{tuple(pred_masks.shape)} on {pred_masks.device} and "
            f"{tuple(gt_masks.shape)} on {gt_masks.device}"
        )
    first, second = pred_masks.flatten(1), gt_masks.flatten(1)
    inter = torch.zeros(len(first), len(second), dtype=torch.int64, device=first.device)
    area1, area2 = inter.new_zeros(len(first)), inter.new_zeros(len(second))
    step = max(1, min(_EXACT_FLOAT32, _SLICE_BYTES // (4 * max(1, len(first) + len(second)))))
    # Autocast would round the counts to half precision.
    with torch.autocast(first.device.type, enabled=False):
        for start in range(0, first.shape[1], step):
            a, b = (m[:, start : start + step].float() for m in (first, second))
            inter += (a @ b.T).to(torch.int64)
            # Summing the bool masks as a whole would copy them to int64.
            area1 += a.sum(dim=1).to(torch.int64)
            area2 += b.sum(dim=1).to(torch.int64)
    union = (area1[:, None] + area2[None, :] - inter).clamp(min=1)
    return inter.float() / union.float()


def masks_to_boxes(masks: Tensor, obj_ids: Sequence[int] | Tensor | None = None) -> Tensor:
    """Bounding boxes of bool masks [N, H, W] -> float32 [N, 4], xyxy in pixels.

    Right and bottom are the last pixel inside (inclusive). An empty mask gives [W, H, 0, 0].
    ``obj_ids``: the N objects' ids; only their number is checked.

    Raises InputError for another dtype or shape, or a wrong number of ids.
    """
    _check_masks(masks)
    if obj_ids is not None and len(obj_ids) != len(masks):
        raise InputError(f"{len(masks)} masks need as many object ids, got {len(obj_ids)}")
    height, width = masks.shape[1:]
    x_min, x_max = _extent(masks.any(dim=1), width)
    y_min, y_max = _extent(masks.any(dim=2), height)
    return torch.stack((x_min, y_min, x_max, y_max), dim=1).float()


def _extent(used: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """[N, length] bool -> first and last True index; rows without one give (length, 0)."""
    index = torch.arange(length, device=used.device).expand_as(used)
    if length == 0:
        zero = torch.zeros(len(used), dtype=torch.int64, device=used.device)
        return zero, zero
    return index.masked_fill(~used, length).amin(dim=1), index.masked_fill(~used, 0).amax(dim=1)

"""Simulated user input for training and evaluation: boxes with noise, clicks into errors.

Points are (x, y) in pixels, labels 1 = positive, 0 = negative, 2 and 3 = the top left and bottom
right corner of a box. ``generator`` makes a draw repeatable; it must be on the masks' device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import InputError
from ..edt import edt

BOX_NOISE = 0.1
BOX_NOISE_BOUND = 20


def mask_to_box(masks: Tensor) -> Tensor:
    """Bounding boxes: bool [B, 1, H, W] -> int32 [B, 1, 4] as (xmin, ymin, xmax, ymax).

    All are pixel indices, right and bottom inclusive; an empty mask gives zeros. Raises
    InputError for another shape or dtype.
    """
    if masks.ndim != 4 or masks.shape[1] != 1 or masks.dtype != torch.bool:
        raise InputError(
            f"masks must be bool [B, 1, H, W], got {masks.dtype} {tuple(masks.shape)}; "
            "compare logits with 0 first"
        )
    height, width = masks.shape[-2:]
    x = torch.arange(width, dtype=torch.int32, device=masks.device).expand(masks.shape)
    y = torch.arange(height, dtype=torch.int32, device=masks.device)[:, None].expand(masks.shape)
    corners = (
        x.masked_fill(~masks, width).flatten(2).amin(-1),
        y.masked_fill(~masks, height).flatten(2).amin(-1),
        x.masked_fill(~masks, 0).flatten(2).amax(-1),
        y.masked_fill(~masks, 0).flatten(2).amax(-1),
    )
    return torch.stack(corners, dim=-1) * masks.flatten(2).any(-1, keepdim=True)


def sample_box_points(
    masks: Tensor,
    noise: float = BOX_NOISE,
    noise_bound: int = BOX_NOISE_BOUND,
    top_left_label: int = 2,
    bottom_right_label: int = 3,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """The corners of each mask's box, moved at random.

    masks: bool [B, 1, H, W]; each corner moves by up to ``noise`` x the side and ``noise_bound``
    pixels, and stays inside the picture. Returns points float32 [B, 2, 2] and labels int32 [B, 2].
    """
    height, width = masks.shape[-2:]
    box = mask_to_box(masks)[:, 0].float()
    if noise > 0:
        side = box[:, 2:] - box[:, :2] + 1
        reach = (noise * side).clamp(max=float(noise_bound)).repeat(1, 2)
        shift = 2 * torch.rand(box.shape, generator=generator, device=box.device) - 1
        limit = torch.tensor([width - 1, height - 1] * 2, device=box.device)
        box = torch.minimum((box + reach * shift).clamp(min=0), limit)
    labels = torch.tensor([top_left_label, bottom_right_label], dtype=torch.int32)
    return box.reshape(-1, 2, 2), labels.to(box.device).repeat(len(box), 1)


def sample_random_points_from_errors(
    gt_masks: Tensor,
    pred_masks: Tensor | None,
    num_pt: int = 1,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Clicks drawn evenly from the wrong pixels of each object.

    gt_masks, pred_masks: bool [B, 1, H, W], the latter None = nothing predicted. Missing pixels
    give positive, surplus ones negative points; an object without errors a negative point in the
    background. Returns points float32 [B, num_pt, 2] and labels int32 [B, num_pt]. Raises
    InputError for other shapes or dtypes.
    """
    missing, surplus = _errors(gt_masks, pred_masks)
    height, width = gt_masks.shape[-2:]
    wrong = torch.cat([surplus, missing], dim=1).flatten(1)[:, None]
    # Values in (0, 1], so that a chosen pixel always beats the zeros elsewhere.
    noise = 1 - torch.rand(
        (len(wrong), num_pt, wrong.shape[-1]), generator=generator, device=gt_masks.device
    )
    return _points((noise * wrong).argmax(-1), height, width)


def sample_one_point_from_error_center(
    gt_masks: Tensor, pred_masks: Tensor | None, padding: bool = True
) -> tuple[Tensor, Tensor]:
    """One click per object into the middle of its largest wrong region.

    The middle is the pixel farthest from the region's border; with ``padding`` the picture's edge
    counts as border. The click is positive if the missing region reaches deeper than the surplus
    one. An object without errors gets a negative point in the background. Arguments, results and
    errors as in :func:`sample_random_points_from_errors` (one point).
    """
    missing, surplus = _errors(gt_masks, pred_masks)
    depths = []
    for region in (surplus, missing):
        padded = torch.nn.functional.pad(region[:, 0], (1, 1, 1, 1)) if padding else region[:, 0]
        depth = edt(padded)
        depths.append(depth[:, 1:-1, 1:-1] if padding else depth)
    # Surplus comes first: of equal depths argmax takes it.
    best = torch.stack(depths, dim=1).flatten(1).argmax(-1, keepdim=True)
    return _points(best, *gt_masks.shape[-2:])


def get_next_point(
    gt_masks: Tensor,
    pred_masks: Tensor | None,
    method: str = "uniform",
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """The next corrective click: points float32 [B, 1, 2], labels int32 [B, 1].

    ``method``: "uniform" (:func:`sample_random_points_from_errors`) or "center"
    (:func:`sample_one_point_from_error_center`). Raises InputError for another one.
    """
    if method == "uniform":
        return sample_random_points_from_errors(gt_masks, pred_masks, generator=generator)
    if method == "center":
        return sample_one_point_from_error_center(gt_masks, pred_masks)
    raise InputError(f'unknown sampling method {method!r}; allowed are "uniform" and "center"')


def _errors(gt_masks: Tensor, pred_masks: Tensor | None) -> tuple[Tensor, Tensor]:
    """(missing, surplus) pixels, bool [B, 1, H, W]; never both empty.

    Without an error the background counts as surplus, or, if there is none, the object as missing.
    """
    if pred_masks is None:
        pred_masks = torch.zeros_like(gt_masks)
    for mask in (gt_masks, pred_masks):
        if mask.dtype != torch.bool or mask.ndim != 4 or mask.shape[1] != 1:
            raise InputError(
                f"masks must be bool [B, 1, H, W], got {mask.dtype} {tuple(mask.shape)}; "
                "compare logits with 0 first"
            )
    if gt_masks.shape != pred_masks.shape:
        raise InputError(
            f"truth {tuple(gt_masks.shape)} and prediction {tuple(pred_masks.shape)} must have "
            "one shape"
        )
    correct = (gt_masks == pred_masks).flatten(1).all(1)[:, None, None, None]
    full = gt_masks.flatten(1).all(1)[:, None, None, None]
    missing = (gt_masks & ~pred_masks) | (correct & full)
    surplus = (pred_masks & ~gt_masks) | (correct & ~gt_masks)
    return missing, surplus


def _points(index: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Indices [B, P] into (surplus, missing) pixels -> points [B, P, 2] and labels [B, P]."""
    label = index // (height * width)
    pixel = index % (height * width)
    points = torch.stack([pixel % width, pixel // width], dim=-1).float()
    return points, label.to(torch.int32)

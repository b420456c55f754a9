"""What happens to mask logits where objects overlap: three rules, all batched over objects.

Logits above 0 are foreground. The first row of the batch wins a tie.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import InputError

BACKGROUND = -10.0
"""Upper bound of a logit that another object took: sigmoid gives 4.5e-5."""
SHRINK_RATIO = 0.3
"""An object that keeps less than this part of its area beside the others counts as covered."""


def apply_non_overlapping_constraints(masks: Tensor, background: float = BACKGROUND) -> Tensor:
    """At every pixel, clamp all objects but the one with the largest logit to <= ``background``.

    Args:
        masks: ``[N, 1, h, w]`` logits; returned as given for N = 1.

    Returns:
        ``[N, 1, h, w]`` logits.
    """
    if masks.shape[0] == 1:
        return masks
    winner = masks.argmax(dim=0, keepdim=True)
    rows = torch.arange(masks.shape[0], device=masks.device)[:, None, None, None]
    return torch.where(winner == rows, masks, masks.clamp(max=background))


def suppress_shrinked_masks(
    before: Tensor, after: Tensor, threshold: float = SHRINK_RATIO
) -> Tensor:
    """Put out whole objects of which ``after`` keeps too little.

    Args:
        before: ``[N, 1, h, w]`` logits without regard to the other objects.
        after: the same objects after a non-overlap rule.
        threshold: smallest part of the foreground pixels of ``before`` (counted as at least 1)
            that an object must keep.

    Returns:
        ``after``, where objects below the threshold are clamped to <= ``BACKGROUND``.

    Raises:
        InputError: the two differ in shape.
    """
    if before.shape != after.shape:
        raise InputError(
            "masks before and after an overlap rule need one shape, got "
            f"{list(before.shape)} and {list(after.shape)}"
        )
    covered = _keeps_less(before, after, threshold)
    return torch.where(covered, after.clamp(max=BACKGROUND), after)


def suppress_object_area_shrinkage(masks: Tensor) -> Tensor:
    """Put out objects that lie mostly under others; the rest stay as given and may overlap.

    Args:
        masks: ``[N, 1, h, w]`` logits.

    Returns:
        ``[N, 1, h, w]`` logits.
    """
    if masks.shape[0] <= 1:
        return masks
    covered = _keeps_less(masks, apply_non_overlapping_constraints(masks), SHRINK_RATIO)
    return torch.where(covered, masks.clamp(max=BACKGROUND), masks)


def apply_object_wise_non_overlapping(
    pred_masks: Tensor, obj_scores: Tensor, background_value: float = BACKGROUND
) -> Tensor:
    """Give contested pixels to the object with the highest score, as a whole object.

    Args:
        pred_masks: ``[N, 1, h, w]`` logits, or bool.
        obj_scores: ``[N, 1]``, one per object. An object with a score <= 0 loses all its pixels.
        background_value: value of pixels without an object; lost pixels are clamped to it.

    Returns:
        masks of the shape and dtype of ``pred_masks``; bool masks keep just the pixels they won.

    Raises:
        InputError: not one score per object.
    """
    if obj_scores.shape != pred_masks.shape[:2]:
        raise InputError(
            f"masks {list(pred_masks.shape)} need scores of shape {list(pred_masks.shape[:2])}, "
            f"got {list(obj_scores.shape)}"
        )
    inside = pred_masks > 0
    level = torch.where(inside, obj_scores[..., None, None].float(), background_value)
    won = apply_non_overlapping_constraints(level) > 0
    if pred_masks.dtype == torch.bool:
        return pred_masks & won
    return torch.where(won, pred_masks, pred_masks.clamp(max=background_value))


def _keeps_less(before: Tensor, after: Tensor, threshold: float) -> Tensor:
    """Which objects keep less than ``threshold`` of their foreground: bool [N, 1, 1, 1]."""
    areas = [(masks > 0).sum(dim=(-1, -2)).float() for masks in (before, after)]
    return (areas[1] / areas[0].clamp(min=1) < threshold)[..., None, None]

"""Small functions of the tracker: frame choice, position codes, mask clean-up, simulated clicks.

Simulated clicks live in ``model/utils/click_sampling.py`` and are re-exported here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar, overload

import torch
from torch import Tensor

from ..errors import InputError
from ..perflib.connected_components import connected_components
from .utils.click_sampling import (
    get_next_point,
    mask_to_box,
    sample_box_points,
    sample_one_point_from_error_center,
    sample_random_points_from_errors,
)

__all__ = [
    "fill_holes_in_mask_scores",
    "get_1d_sine_pe",
    "get_best_gt_match_from_multimasks",
    "get_next_point",
    "mask_to_box",
    "sample_box_points",
    "sample_one_point_from_error_center",
    "sample_random_points_from_errors",
    "select_closest_cond_frames",
]

_Output = TypeVar("_Output")


def select_closest_cond_frames(
    frame_idx: int,
    cond_frame_outputs: Mapping[int, _Output],
    max_cond_frame_num: int,
    keep_first_cond_frame: bool = False,
) -> tuple[Mapping[int, _Output], dict[int, _Output]]:
    """Choose the conditioning frames that are closest in time.

    Args:
        frame_idx: the frame to be tracked.
        cond_frame_outputs: frame index -> its output.
        max_cond_frame_num: how many to choose, at least 2; -1 = all.
        keep_first_cond_frame: choose the earliest frame before ``frame_idx`` first (or, if there
            is none, the latest one after it).

    Returns: (selected, unselected). Without a need to choose, ``selected`` is the object given.
    Otherwise its order is: [kept first frame,] the last frame before, the first frame from
    ``frame_idx`` on, then the rest by distance. Raises InputError for a limit of 0, 1 or < -1.
    """
    if max_cond_frame_num == -1:
        return cond_frame_outputs, {}
    if max_cond_frame_num < 2:
        raise InputError(
            f"at least 2 conditioning frames must be allowed (or -1 for all), got"
            f" {max_cond_frame_num}"
        )
    if len(cond_frame_outputs) <= max_cond_frame_num:
        return cond_frame_outputs, {}
    before = [t for t in cond_frame_outputs if t < frame_idx]
    after = [t for t in cond_frame_outputs if t >= frame_idx]
    # Keys of a dict stand for an ordered set.
    chosen: dict[int, None] = {}
    if keep_first_cond_frame:
        later = [t for t in after if t > frame_idx]
        if before or later:
            chosen[min(before) if before else max(later)] = None
    if before:
        chosen[max(before)] = None
    if after:
        chosen[min(after)] = None
    by_distance = sorted(cond_frame_outputs, key=lambda t: abs(t - frame_idx))
    chosen.update(dict.fromkeys(t for t in by_distance if t not in chosen))
    selected = {t: cond_frame_outputs[t] for t in list(chosen)[:max_cond_frame_num]}
    return selected, {t: out for t, out in cond_frame_outputs.items() if t not in selected}


def get_1d_sine_pe(pos_inds: Tensor, dim: int, temperature: float = 10000.0) -> Tensor:
    """Sine code of positions: float [...] -> float [..., dim], sines first, then cosines.

    Raises InputError for an odd ``dim``.
    """
    if dim < 2 or dim % 2:
        raise InputError(f"a position code needs an even number of channels, got {dim}")
    half = dim // 2
    index = torch.arange(half, dtype=torch.float32, device=pos_inds.device)
    wavelength = temperature ** (2 * (index // 2) / half)
    angle = pos_inds.unsqueeze(-1) / wavelength
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


@overload
def get_best_gt_match_from_multimasks(
    pred_multimasks: Tensor, gt_masks: Tensor, pred_scores: None = None
) -> Tensor: ...


@overload
def get_best_gt_match_from_multimasks(
    pred_multimasks: Tensor, gt_masks: Tensor, pred_scores: Tensor
) -> tuple[Tensor, Tensor]: ...


def get_best_gt_match_from_multimasks(
    pred_multimasks: Tensor, gt_masks: Tensor, pred_scores: Tensor | None = None
) -> Tensor | tuple[Tensor, Tensor]:
    """Of several predicted masks per object, take the one with the highest IoU to the truth.

    pred_multimasks: logits [B, M, H, W]; gt_masks: bool [B, 1, H, W]; pred_scores: [B, M].
    Returns the mask [B, 1, H, W], with ``pred_scores`` also its score [B, 1]. Of equal ones the
    first wins. Raises InputError for shapes that do not fit.
    """
    shape = pred_multimasks.shape
    if pred_multimasks.ndim != 4 or gt_masks.shape != (shape[0], 1, *shape[2:]):
        raise InputError(
            "predictions and truth need shapes [B, M, H, W] and [B, 1, H, W], got "
            f"{tuple(shape)} and {tuple(gt_masks.shape)}"
        )
    if pred_scores is not None and pred_scores.shape != shape[:2]:
        raise InputError(f"scores must be {tuple(shape[:2])}, got {tuple(pred_scores.shape)}")
    predicted, truth = pred_multimasks > 0, gt_masks > 0
    inter = (predicted & truth).sum((2, 3))
    union = (predicted | truth).sum((2, 3)).clamp(min=1)
    best = (inter.float() / union.float()).argmax(dim=1)
    rows = torch.arange(shape[0], device=best.device)
    mask = pred_multimasks[rows, best][:, None]
    return mask if pred_scores is None else (mask, pred_scores[rows, best][:, None])


def fill_holes_in_mask_scores(
    mask: Tensor, max_area: int, fill_holes: bool = True, remove_sprinkles: bool = True
) -> Tensor:
    """Close small holes and drop small specks of mask logits.

    Args:
        mask: logits [N, 1, H, W], > 0 is foreground; not changed.
        max_area: largest area in pixels of what is changed; 0 or less = nothing.
        fill_holes: background components up to that area become 0.1.
        remove_sprinkles: then, foreground components up to that area, and up to half of the
            object's foreground, become -0.1.

    Returns: logits [N, 1, H, W]; ``mask`` itself if there is nothing to do.
    Raises InputError for another shape.
    """
    if max_area <= 0:
        return mask
    if mask.ndim != 4 or mask.shape[1] != 1:
        raise InputError(f"mask scores must be [N, 1, H, W], got {tuple(mask.shape)}")
    if fill_holes:
        background = mask <= 0
        areas = connected_components(background)[1]
        mask = torch.where(background & (areas <= max_area), 0.1, mask)
    if remove_sprinkles:
        foreground = mask > 0
        limit = (foreground.sum((2, 3), keepdim=True) // 2).clamp(max=max_area)
        areas = connected_components(foreground)[1]
        mask = torch.where(foreground & (areas <= limit), -0.1, mask)
    return mask

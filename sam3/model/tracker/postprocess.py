"""Mask logits on their way out of a session: other sizes, one object per pixel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .overlap import apply_non_overlapping_constraints
from .state import InferenceState


def resize_logits(masks: Tensor, size: tuple[int, int], antialias: bool = False) -> Tensor:
    """``[N, 1, h, w]`` -> float32 ``[N, 1, *size]``, bilinear; as given if that is the size."""
    masks = masks.float()
    if tuple(masks.shape[-2:]) == tuple(size):
        return masks
    return F.interpolate(
        masks, size=size, mode="bilinear", align_corners=False, antialias=antialias
    )


def video_res_masks(state: InferenceState, masks: Tensor, non_overlapping: bool) -> Tensor:
    """Logits at the video's size ``[N, 1, H, W]``; N = 0 in a quiet session.

    Args:
        masks: ``[N, 1, h, w]`` logits of any size.
        non_overlapping: give each pixel to the object with the largest logit.
    """
    if state.quiet:
        return no_masks(state)
    full = resize_logits(masks.to(state.device), (state.video_height, state.video_width))
    return apply_non_overlapping_constraints(full) if non_overlapping else full


def no_masks(state: InferenceState) -> Tensor:
    """What a quiet session gives back: ``[0, 1, H, W]``."""
    return torch.zeros(0, 1, state.video_height, state.video_width, device=state.device)

"""Greedy non-maximum suppression on masks.

Backends: on CUDA the extension ``torch_generic_nms``, else the Triton kernel, else (and on every
other device) numpy. Of equal scores the CPU backend takes the later index first, Triton the
earlier one; all else is equal.
"""

from __future__ import annotations

import logging

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from .capabilities import has_torch_generic_nms, has_triton
from .masks_ops import mask_iou

_log = logging.getLogger(__name__)
_broken_backends: set[str] = set()


def nms_masks(
    pred_probs: Tensor, pred_masks: Tensor, prob_threshold: float, iou_threshold: float
) -> Tensor:
    """Choose the masks to keep.

    Args:
        pred_probs: float [n] scores.
        pred_masks: [n, H, W] mask logits; a pixel belongs to the mask where its logit is > 0.
        prob_threshold: only scores above it take part.
        iou_threshold: by descending score, a kept mask drops later ones whose IoU with it is
            above this.

    Returns: bool [n], True = keep. Raises InputError for shapes that do not fit.
    """
    if pred_masks.ndim != 3 or pred_probs.shape != pred_masks.shape[:1]:
        raise InputError(
            "scores and mask logits need shapes [n] and [n, H, W], got "
            f"{tuple(pred_probs.shape)} and {tuple(pred_masks.shape)}"
        )
    keep = pred_probs > prob_threshold
    valid = keep.nonzero().squeeze(1)
    if valid.numel() == 0:
        return keep
    binary = pred_masks[valid] > 0
    kept = generic_nms(mask_iou(binary, binary), pred_probs[valid], iou_threshold)
    keep = torch.zeros_like(keep)
    keep[valid[kept]] = True
    return keep


def generic_nms(ious: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Greedy NMS on an IoU matrix: float [n, n] and float [n] -> long indices of the kept rows.

    Indices come by descending score, on the device of ``ious``. Raises InputError for shapes
    that do not fit.
    """
    if scores.ndim != 1 or ious.shape != (len(scores), len(scores)):
        raise InputError(
            "the IoU matrix and the scores need shapes [n, n] and [n], got "
            f"{tuple(ious.shape)} and {tuple(scores.shape)}"
        )
    if len(scores) == 0:
        return torch.zeros(0, dtype=torch.long, device=ious.device)
    if ious.is_cuda:
        for backend in ("torch_generic_nms", "triton"):
            kept = _try_cuda_backend(backend, ious, scores, iou_threshold)
            if kept is not None:
                return kept
    return generic_nms_cpu(ious, scores, iou_threshold)


def _try_cuda_backend(
    name: str, ious: Tensor, scores: Tensor, iou_threshold: float
) -> Tensor | None:
    """Run one CUDA backend; None if it is not there or does not work on this machine."""
    available = has_torch_generic_nms() if name == "torch_generic_nms" else has_triton()
    if not available or name in _broken_backends:
        return None
    try:
        if name == "triton":
            from .triton.nms import nms_triton

            return nms_triton(ious, scores, iou_threshold)
        from torch_generic_nms import generic_nms as extension

        return extension(ious, scores, iou_threshold, use_iou_matrix=True)
    except Exception as error:  # missing compiler, driver mismatch, …: many types, one answer
        _broken_backends.add(name)
        _log.warning("NMS backend %s does not work here (%s); using the next one", name, error)
        return None


def generic_nms_cpu(ious: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """The numpy backend of :func:`generic_nms`; of equal scores the later index comes first."""
    # A stable ascending sort, reversed: numpy's default sort does not fix the order of ties.
    order = np.argsort(scores.detach().float().cpu().numpy(), kind="stable")[::-1].copy()
    keep = suppress_in_order(ious.detach().float().cpu().numpy()[order][:, order], iou_threshold)
    return torch.from_numpy(order[keep]).to(ious.device)


def suppress_in_order(ious: np.ndarray, iou_threshold: float) -> np.ndarray:
    """Greedy step on an IoU matrix whose rows are already in order: float32 [n, n] -> bool [n]."""
    keep = np.ones(len(ious), dtype=bool)
    limit = np.float32(iou_threshold)
    for row in range(len(ious)):
        if keep[row]:
            keep[row + 1 :] &= ~(ious[row, row + 1 :] > limit)
    return keep

"""Gradient clipping by total norm."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...errors import InputError


class GradientClipper:
    """Scales all gradients of a model so that their total norm is at most ``max_norm``.

    Args:
        max_norm: the limit; None only measures the norm.
        norm_type: order of the norm.
    """

    def __init__(self, max_norm: float | None = 1.0, norm_type: float = 2) -> None:
        if max_norm is not None and max_norm <= 0:
            raise InputError(f"max_norm must be positive or None, got {max_norm}")
        self.max_norm = max_norm
        self.norm_type = float(norm_type)

    def __call__(self, model: nn.Module) -> Tensor:
        """Clip in place; returns the norm before clipping, scalar."""
        limit = float("inf") if self.max_norm is None else self.max_norm
        return torch.nn.utils.clip_grad_norm_(
            model.parameters(), limit, norm_type=self.norm_type, foreach=True
        )

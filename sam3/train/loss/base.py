"""What every loss module shares: weighting of named losses into the one that is differentiated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import InputError
from ..matching.assignment import Indices

CORE_LOSS_KEY = "core_loss"  # the entry of a loss dict that is back-propagated


class LossWithWeights(nn.Module):
    """Base of the loss modules: calls ``get_loss`` and adds the weighted sum as ``core_loss``.

    Args:
        weight_dict: weight of each named loss; every name must be produced by ``get_loss``.
        compute_aux: also compute the loss on auxiliary decoder layers.
    """

    def __init__(self, weight_dict: Mapping[str, float] | None, compute_aux: bool) -> None:
        super().__init__()
        self.weight_dict = dict(weight_dict or {})
        self.compute_aux = compute_aux

    def get_loss(
        self,
        outputs: Mapping[str, Any],
        targets: Mapping[str, Any],
        indices: Indices,
        num_boxes: Tensor | float,
    ) -> dict[str, Tensor]:
        """Return the named losses, unweighted."""
        raise NotImplementedError(f"{type(self).__name__} must define get_loss")

    def forward(
        self,
        outputs: Mapping[str, Any],
        targets: Mapping[str, Any],
        indices: Indices,
        num_boxes: Tensor | float,
        is_aux: bool = False,
    ) -> dict[str, Tensor]:
        """Compute the losses of one output dict.

        Args:
            outputs: predictions of one decoder layer.
            targets: the target dict of ``Sam3Image.back_convert``.
            indices: ``(batch_idx, src_idx, tgt_idx or None)``.
            num_boxes: normaliser.
            is_aux: the outputs come from an auxiliary layer.

        Returns:
            named scalar losses and ``core_loss``; only a zero ``core_loss`` for skipped layers.
        """
        if is_aux and not self.compute_aux:
            zero = torch.zeros((), device=targets["num_boxes"].device)
            return {CORE_LOSS_KEY: zero}
        losses = self.get_loss(outputs, targets, indices, num_boxes)
        losses[CORE_LOSS_KEY] = self.reduce_loss(losses)
        return losses

    def reduce_loss(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Weighted sum of ``losses``; raises ``InputError`` for a weight without a loss."""
        total: Tensor | None = None
        for name, weight in self.weight_dict.items():
            if name not in losses:
                raise InputError(
                    f"weight_dict of {type(self).__name__} names {name!r}, which it does not "
                    f"compute; it computes {sorted(losses)}"
                )
            if weight != 0:
                term = losses[name] * weight
                total = term if total is None else total + term
        if total is None:
            return torch.zeros((), device=next(iter(losses.values())).device)
        return total


def select_targets(values: Tensor, tgt_idx: Tensor | None) -> Tensor:
    """Rows of packed targets that belong to the matches, in match order."""
    return values if tgt_idx is None else values[tgt_idx]

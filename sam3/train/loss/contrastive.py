"""Contrastive alignment of queries and tokens (Kamath et al. 2021, "MDETR", section 3.2)."""

from __future__ import annotations

from torch import Tensor

from .elementary import Count


def contrastive_align_loss(logits: Tensor, positive_map: Tensor, num_boxes: Count = 1) -> Tensor:
    """Symmetric loss that draws each query to its tokens and each token to its queries.

    Args:
        logits: similarity of queries and tokens ``(B, Q, T)``.
        positive_map: bool ``(B, Q, T)``, True where a query and a token belong together; queries
            and tokens without a partner do not count.
        num_boxes: normaliser.

    Returns:
        scalar: mean of both directions, divided by ``num_boxes``.
    """
    both = _align(logits, positive_map) + _align(logits.mT, positive_map.mT)
    return both / 2 / num_boxes


def _align(logits: Tensor, positive: Tensor) -> Tensor:
    """Sum over rows with a partner of logsumexp(row) - mean of the partners' logits."""
    partners = logits.masked_fill(~positive, 0).sum(-1) / (positive.sum(-1) + 1e-6)
    loss = logits.logsumexp(-1) - partners
    return loss.masked_fill(~positive.any(-1), 0).sum()

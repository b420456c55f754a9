"""Point sampling for mask losses: more points where the prediction is uncertain."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import InputError


def point_sample(inputs: Tensor, point_coords: Tensor, **kwargs: object) -> Tensor:
    """Sample ``inputs (N, C, H, W)`` at points ``(N, P, 2)``, (x, y) in [0, 1] -> ``(N, C, P)``.

    ``kwargs`` go to ``torch.nn.functional.grid_sample``.
    """
    grid = 2.0 * point_coords[:, :, None] - 1.0
    options = {"align_corners": False, **kwargs}
    return F.grid_sample(inputs, grid, **options).squeeze(3)  # type: ignore[arg-type]


def calculate_uncertainty(logits: Tensor) -> Tensor:
    """Negative distance of the logits ``(N, 1, ...)`` from 0, the decision border."""
    if logits.shape[1] != 1:
        raise InputError(f"logits must have one channel, got shape {tuple(logits.shape)}")
    return -logits.abs()


@torch.no_grad()
def get_uncertain_point_coords_with_randomness(
    logits: Tensor,
    uncertainty_func: Callable[[Tensor], Tensor],
    num_points: int,
    oversample_ratio: float,
    importance_sample_ratio: float,
) -> Tensor:
    """Choose points, most of them where the prediction is uncertain, the rest at random.

    Args:
        logits: ``(N, 1, H, W)``.
        num_points: points per mask.
        oversample_ratio: >= 1, candidates per point.
        importance_sample_ratio: share in [0, 1] of points taken by uncertainty.

    Returns:
        ``(N, num_points, 2)`` float, (x, y) in [0, 1].
    """
    if oversample_ratio < 1 or not 0 <= importance_sample_ratio <= 1:
        raise InputError(
            "oversample_ratio must be >= 1 and importance_sample_ratio in [0, 1], got "
            f"{oversample_ratio} and {importance_sample_ratio}"
        )
    count = logits.shape[0]
    device, dtype = logits.device, logits.dtype
    candidates = torch.rand(
        count, int(num_points * oversample_ratio), 2, device=device, dtype=dtype
    )
    uncertainty = uncertainty_func(point_sample(logits, candidates))
    num_uncertain = int(importance_sample_ratio * num_points)
    best = uncertainty[:, 0].topk(num_uncertain, dim=1).indices
    coords = candidates.gather(1, best[..., None].expand(-1, -1, 2))
    rest = num_points - num_uncertain
    if rest > 0:
        uniform = torch.rand(count, rest, 2, device=device, dtype=dtype)
        coords = torch.cat([coords, uniform], dim=1)
    return coords

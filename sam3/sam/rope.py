"""Axial rotary position embedding (Su et al. 2021, RoFormer; 2-D axial form of Heo et al. 2024).

The first half of the channel pairs rotates with x, the second half with y; pairs are interleaved
(2m, 2m + 1). The multiplication is done in float32 whatever the input's dtype.
"""

from __future__ import annotations

import torch
from torch import Tensor


def compute_axial_cis(
    dim: int,
    end_x: int,
    end_y: int,
    theta: float = 10000.0,
    scale_pos: float = 1.0,
    offset: int = 0,
    device: torch.device | str | None = None,
) -> Tensor:
    """Rotation factors of a row-major ``end_y`` x ``end_x`` grid: complex64 [end_x * end_y, dim/2].

    Position (x + offset, y + offset) is multiplied by ``scale_pos``; frequency j of an axis is
    theta ** (-4 j / dim).
    """
    steps = torch.arange(0, dim, 4, device=device)[: dim // 4].float()
    freqs = 1.0 / (theta ** (steps / dim))
    t = torch.arange(end_x * end_y, dtype=torch.float32, device=device)
    x = (t % end_x + offset) * scale_pos
    y = (torch.div(t, end_x, rounding_mode="floor") + offset) * scale_pos
    angles = torch.cat([torch.outer(x, freqs), torch.outer(y, freqs)], dim=-1)
    return torch.polar(torch.ones_like(angles), angles)


def rotate(x: Tensor, freqs_cis: Tensor, real: bool = False) -> Tensor:
    """Rotate channel pairs of x [..., D] by complex factors broadcastable to [..., D / 2].

    ``real`` computes without complex numbers, as is done anyway where those are slow.
    """
    pairs = x.float().unflatten(-1, (-1, 2))
    if real or torch.compiler.is_compiling() or x.device.type == "mps":
        # neither the compiler nor Metal has fast complex kernels
        factors = torch.view_as_real(freqs_cis)
        cos, sin = factors[..., 0], factors[..., 1]
        even, odd = pairs[..., 0], pairs[..., 1]
        out = torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1)
    else:
        out = torch.view_as_real(torch.view_as_complex(pairs) * freqs_cis)
    return out.flatten(-2).type_as(x)


def apply_rotary_enc(
    xq: Tensor,
    xk: Tensor,
    freqs_cis: Tensor,
    repeat_freqs_k: bool = False,
    real: bool = False,
) -> tuple[Tensor, Tensor]:
    """Rotate queries and keys [..., L, D] by ``freqs_cis`` [L, D / 2].

    With ``repeat_freqs_k`` the keys may be r times as long as the table, which then applies to
    each stretch of L keys. Zero keys are returned as they are. ``real``: see :func:`rotate`.
    """
    rotated_q = rotate(xq, freqs_cis, real)
    if xk.shape[-2] == 0:
        return rotated_q, xk
    if repeat_freqs_k and xk.shape[-2] != freqs_cis.shape[0]:
        if xk.shape[-2] % freqs_cis.shape[0]:
            raise ValueError(
                f"{xk.shape[-2]} keys are no multiple of the {freqs_cis.shape[0]} rotary positions"
            )
        stretches = xk.unflatten(-2, (-1, freqs_cis.shape[0]))
        return rotated_q, rotate(stretches, freqs_cis, real).flatten(-3, -2)
    return rotated_q, rotate(xk, freqs_cis, real)

"""Triton kernels of the sigmoid focal loss: forward, forward with sum, and backward.

Each reads logits and targets once, in any float format, and computes in float32. The plain twin is
``train.loss.sigmoid_focal_loss.elementwise_sigmoid_focal_loss``.
"""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

_BLOCK = 1024


@cache
def _kernels() -> Any:
    """Import Triton and build the kernels, once."""
    global tl, focal_terms, power  # the kernels' source is compiled against this module's globals
    import triton
    import triton.language as tl

    @triton.jit
    def power(base, GAMMA: tl.constexpr):  # type: ignore[name-defined]
        # base >= 0. The common exponents need no logarithm; others never see its pole.
        if GAMMA == 0:
            result = tl.full(base.shape, 1.0, tl.float32)
        elif GAMMA == 1:
            result = base
        elif GAMMA == 2:
            result = base * base
        else:
            result = tl.exp(GAMMA * tl.log(tl.maximum(base, 1e-37)))
        return result

    @triton.jit
    def focal_terms(x, t):
        # Cross-entropy, probability and its distance from the target, 1 - p_t.
        small = tl.exp(-tl.abs(x))
        entropy = tl.maximum(x, 0.0) - x * t + tl.log(1.0 + small)
        prob = tl.where(x >= 0, 1.0, small) / (1.0 + small)
        return entropy, prob, prob + t - 2.0 * prob * t

    @triton.jit
    def forward(x_in, t_in, out, n, alpha, GAMMA: tl.constexpr, REDUCE: tl.constexpr,  # type: ignore[name-defined]
                BLOCK: tl.constexpr):  # type: ignore[name-defined]  # fmt: skip
        # One program: BLOCK elements. out: float32 [n], or [programs] of sums with REDUCE.
        at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        inside = at < n
        x = tl.load(x_in + at, mask=inside, other=0.0).to(tl.float32)
        t = tl.load(t_in + at, mask=inside, other=0.0).to(tl.float32)
        entropy, prob, miss = focal_terms(x, t)
        loss = (t * (2.0 * alpha - 1.0) + (1.0 - alpha)) * entropy * power(miss, GAMMA)
        if REDUCE:
            tl.store(out + tl.program_id(0), tl.sum(tl.where(inside, loss, 0.0), axis=0))
        else:
            tl.store(out + at, loss, mask=inside)

    @triton.jit
    def backward(x_in, t_in, grad_in, grad_out, n, alpha, GAMMA: tl.constexpr,  # type: ignore[name-defined]
                 REDUCE: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[name-defined]  # fmt: skip
        # grad_in: float32 [n], or one number with REDUCE. grad_out: [n] in the format of x_in.
        at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        inside = at < n
        x = tl.load(x_in + at, mask=inside, other=0.0).to(tl.float32)
        t = tl.load(t_in + at, mask=inside, other=0.0).to(tl.float32)
        if REDUCE:
            grad = tl.load(grad_in)
        else:
            grad = tl.load(grad_in + at, mask=inside, other=0.0)
        entropy, prob, miss = focal_terms(x, t)
        slope = (prob - t) * power(miss, GAMMA)
        if GAMMA != 0:
            along = (1.0 - 2.0 * t) * prob * (1.0 - prob)
            slope += entropy * GAMMA * power(miss, GAMMA - 1) * along
        slope *= t * (2.0 * alpha - 1.0) + (1.0 - alpha)
        tl.store(grad_out + at, (grad * slope).to(grad_out.dtype.element_ty), mask=inside)

    return SimpleNamespace(forward=forward, backward=backward)


def focal_forward(
    logits: Tensor, targets: Tensor, alpha: float, gamma: float, reduce: bool
) -> Tensor:
    """Focal loss of equal-shaped float tensors: float32, same shape, or the scalar sum."""
    logits, targets = logits.contiguous(), targets.contiguous()
    count = logits.numel()
    blocks = -(-count // _BLOCK)
    shape = (blocks,) if reduce else logits.shape
    out = torch.empty(shape, dtype=torch.float32, device=logits.device)
    if count:
        _kernels().forward[(blocks,)](
            logits, targets, out, count, alpha, GAMMA=gamma, REDUCE=reduce, BLOCK=_BLOCK
        )
    return out.sum() if reduce else out


def focal_backward(
    grad: Tensor, logits: Tensor, targets: Tensor, alpha: float, gamma: float, reduce: bool
) -> Tensor:
    """Gradient of the logits, in their format, from that of what ``focal_forward`` returned."""
    logits, targets, grad = logits.contiguous(), targets.contiguous(), grad.float().contiguous()
    count = logits.numel()
    out = torch.empty_like(logits)
    if count:
        _kernels().backward[(-(-count // _BLOCK),)](
            logits, targets, grad, out, count, alpha, GAMMA=gamma, REDUCE=reduce, BLOCK=_BLOCK
        )
    return out

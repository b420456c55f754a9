"""FlashAttention 3 in float8, as a custom op that ``torch.compile`` can trace. Optional."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError, MissingDependencyError

OP_NAME = "flash::flash_attn_func"


@cache
def _operator() -> Any:
    """Register the op with its fake (shape-only) version at first use."""

    @torch.library.custom_op(OP_NAME, mutates_args=())
    def flash_attn_func_op(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        from flash_attn_interface import flash_attn_func as attention

        out = attention(q, k, v)
        # Some versions also return the log-sum-exp.
        out = out[0] if isinstance(out, tuple) else out
        return out.to(torch.bfloat16).contiguous()

    @flash_attn_func_op.register_fake
    def _(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return q.new_empty((*q.shape[:-1], v.shape[-1]), dtype=torch.bfloat16)

    return flash_attn_func_op


def flash_attn_func(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention softmax(q k^T / sqrt(D)) v in float8.

    q [B, L, heads, D], k and v [B, S, heads, D], floating point: cast to float8_e4m3fn, the
    result [B, L, heads, D] back to the dtype of q. Needs a Hopper GPU.

    Raises InputError for shapes that do not fit, MissingDependencyError without FlashAttention 3.
    """
    if q.ndim != 4 or k.ndim != 4 or k.shape[:3] != v.shape[:3] or q.shape[3] != k.shape[3]:
        raise InputError(
            "attention needs q [B, L, heads, D] and k, v [B, S, heads, D], got "
            f"{tuple(q.shape)}, {tuple(k.shape)}, {tuple(v.shape)}"
        )
    _require_flash_attention()
    half = (t.to(torch.float8_e4m3fn) for t in (q, k, v))
    return _operator()(*half).to(q.dtype)


def _require_flash_attention() -> None:
    from .capabilities import has_flash_attention_3

    if not has_flash_attention_3():
        raise MissingDependencyError(
            "FlashAttention 3 (module flash_attn_interface) is not installed: build it from the "
            "folder `hopper` of https://github.com/Dao-AILab/flash-attention, or set use_fa3=False"
        )

"""FlashAttention 3 in float8, as a custom op that ``torch.compile`` can trace. Optional."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError, MissingDependencyError
from . import capabilities


@cache
def prepare() -> Any:
    """Check that FlashAttention 3 is there and register the op ``flash::flash_attn_func``, once.

    :func:`flash_attn_func` does it itself at its first call, but not while being compiled: a model
    that is going to be compiled calls this where it is built. Returns the op, which the cached
    result keeps alive. Raises MissingDependencyError.
    """
    if not capabilities.has_flash_attention_3():
        raise MissingDependencyError(
            "FlashAttention 3 (module flash_attn_interface) is not installed: build it from the "
            "folder `hopper` of https://github.com/Dao-AILab/flash-attention, or set use_fa3=False"
        )

    @torch.library.custom_op("flash::flash_attn_func", mutates_args=())
    def attention_op(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        from flash_attn_interface import flash_attn_func as attention

        out = attention(q, k, v)
        # Some versions also return the log-sum-exp.
        out = out[0] if isinstance(out, tuple) else out
        return out.to(torch.bfloat16).contiguous()

    @attention_op.register_fake
    def _(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return q.new_empty((*q.shape[:-1], v.shape[-1]), dtype=torch.bfloat16)

    return attention_op


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
    if not torch.compiler.is_compiling():
        prepare()
    quantised = (t.to(torch.float8_e4m3fn) for t in (q, k, v))
    return torch.ops.flash.flash_attn_func(*quantised).to(q.dtype)

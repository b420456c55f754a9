"""What this machine can do. The only place that looks for optional packages and CUDA."""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec

import torch


def has_package(name: str) -> bool:
    """Return whether the top-level package ``name`` can be found (it is not imported)."""
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):  # blocked on purpose, or a module without a spec
        return False


def has_cuda() -> bool:
    """Return whether torch can use a CUDA (or ROCm) device now."""
    return torch.cuda.is_available()


@cache
def cuda_capability() -> tuple[int, int] | None:
    """Return (major, minor) of the current CUDA device, or None without one."""
    return torch.cuda.get_device_capability() if has_cuda() else None


def has_triton() -> bool:
    """Return whether Triton kernels can run: Triton is installed, with CUDA or interpreted."""
    return has_package("triton") and (has_cuda() or triton_is_interpreted())


def triton_is_interpreted() -> bool:
    """Return whether ``TRITON_INTERPRET=1`` asks Triton to run its kernels on the CPU."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def has_torch_generic_nms() -> bool:
    """Return whether the CUDA extension ``torch_generic_nms`` is installed."""
    return has_package("torch_generic_nms")


def has_cc_torch() -> bool:
    """Return whether the CUDA extension ``cc_torch`` is installed."""
    return has_package("cc_torch")


def has_flash_attention_3() -> bool:
    """Return whether FlashAttention 3 (``flash_attn_interface``) is installed."""
    return has_package("flash_attn_interface")

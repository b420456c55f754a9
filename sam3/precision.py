"""Which numbers the model computes in: a policy object chosen by the caller.

``resolve_precision("auto", device)`` picks bfloat16 where the device accelerates it, float16 on
older CUDA devices, float32 elsewhere. In half precision the bulk of the weights (vision, text,
fusion, masks) is kept in half; the parts that carry coordinates and scores stay float32 islands.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .errors import DeviceError, InputError

FP32_ISLANDS = (
    "transformer.decoder.",
    "dot_prod_scoring.",
    "geometry_encoder.",
    "inst_interactive_predictor.",
)
"""Module prefixes kept in float32: box refinement, scores and prompt coordinates need it."""

CHOICES = ("auto", "fp32", "bf16", "fp16")
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class PrecisionPolicy:
    """``dtype`` for the bulk of the weights, float32 for ``FP32_ISLANDS``."""

    name: str
    dtype: torch.dtype

    def dtype_for(self, name: str, tensor: torch.Tensor) -> torch.dtype | None:
        """Dtype that ``name`` is kept in; None leaves the tensor's own (complex, integer)."""
        if not tensor.is_floating_point():
            return None
        return torch.float32 if name.startswith(FP32_ISLANDS) else self.dtype

    def apply_(self, model: torch.nn.Module) -> torch.nn.Module:
        """Cast the parameters of ``model`` in place and return it."""
        for name, parameter in model.named_parameters():
            dtype = self.dtype_for(name, parameter)
            if dtype is not None and parameter.dtype != dtype:
                parameter.data = parameter.data.to(dtype)
        return model


def resolve_precision(
    choice: str | PrecisionPolicy, device: torch.device | str | None = None
) -> PrecisionPolicy:
    """The policy for ``choice`` ("auto", "fp32", "bf16", "fp16" or a policy) on ``device``.

    InputError for another word, DeviceError where the device cannot compute in it.
    """
    if isinstance(choice, PrecisionPolicy):
        return choice
    device = torch.device(device if device is not None else "cpu")
    if choice not in CHOICES:
        raise InputError(f"unknown precision {choice!r}; allowed are {', '.join(CHOICES)}")
    if choice == "auto":
        choice = _best_for(device)
    if choice == "fp16" and device.type == "cpu":
        raise DeviceError("fp16 is not supported on the CPU; choose fp32 or bf16")
    return PrecisionPolicy(choice, _DTYPES[choice])


def _best_for(device: torch.device) -> str:
    if device.type == "cuda":
        major, _ = torch.cuda.get_device_capability(device)
        return "bf16" if major >= 8 else "fp16"
    if device.type == "cpu" and cpu_accelerates_bf16():
        return "bf16"
    return "fp32"


def cpu_accelerates_bf16() -> bool:
    """Whether this CPU has bfloat16 matrix instructions that torch uses."""
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(probe and probe())

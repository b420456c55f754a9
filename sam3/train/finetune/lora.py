"""Low-rank adapters (Hu et al. 2021, LoRA) through the optional package peft.

The weights stay as they are; beside the linear layers of the large parts, pairs of small matrices
learn. Before a model is saved they are merged into the weights, so that its file looks like any
other. Layers whose weights are read without being called (attention projections of the heads)
cannot be adapted and stay frozen.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ...errors import InputError, MissingDependencyError
from .rates import part_of

ADAPTED_PARTS = ("trunk", "text", "encoder", "decoder")
WHOLE_PARTS = ("scores",)  # small; they learn themselves
_LAYERS = ("qkv", "proj", "fc1", "fc2", "c_fc", "c_proj", "linear1", "linear2")
_BASE = ".base_layer."


def add_adapters(model: nn.Module, rank: int, frozen: tuple[str, ...] = ()) -> int:
    """Put adapters of a rank into ``model``, in place; nothing but them and the scores learns.

    Args:
        frozen: parts that get none.

    Returns:
        Number of layers that were adapted.

    Raises:
        MissingDependencyError: without peft.
        InputError: no layer is left to adapt.
    """
    peft = _peft()
    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and name.rpartition(".")[2] in _LAYERS
        and part_of(name) in ADAPTED_PARTS
        and part_of(name) not in frozen
    ]
    if not names:
        raise InputError(f"with {', '.join(frozen)} frozen there is no layer for an adapter")
    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=names)
    peft.inject_adapter_in_model(config, model)
    for name, parameter in model.named_parameters():
        whole = part_of(name) in WHOLE_PARTS and part_of(name) not in frozen
        parameter.requires_grad_("lora_" in name or whole)
    return len(names)


def merged_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict with all adapters merged into the weights, under the names without adapters.

    The model itself is left as it was. Works without peft on a model without adapters.
    """
    adapted = [module for module in model.modules() if hasattr(module, "get_delta_weight")]
    for module in adapted:
        module.merge()  # type: ignore[operator]
    try:
        state = {
            name.replace(_BASE, "."): tensor.detach().clone()
            for name, tensor in model.state_dict().items()
            if ".lora_" not in name
        }
    finally:
        for module in adapted:
            module.unmerge()  # type: ignore[operator]
    return state


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise MissingDependencyError(
            "adapters need the package peft: pip install peft; without it leave --lora out, or "
            "train fewer weights with --freeze trunk text"
        ) from error
    return peft

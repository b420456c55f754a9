"""Parameter groups of an optimiser."""

from __future__ import annotations

from typing import Any

from torch import nn

# Tables that are looked up or added, not multiplied: decay would only shrink them.
_TABLE_NAMES = ("pos_embed", "positional_embedding", "cls_token")


def weight_decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups of trainable parameters: decayed matrices, and all else without decay.

    No decay for one-dimensional parameters (biases, norms), embeddings and position tables.

    Returns:
        groups with ``params``, ``weight_decay`` and ``name``, in a fixed order, without empty ones.
    """
    tables = {
        id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters(False)
    }
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        keep_whole = (
            parameter.ndim < 2 or id(parameter) in tables or name.rpartition(".")[2] in _TABLE_NAMES
        )
        (plain if keep_whole else decayed).append(parameter)
    groups = [
        {"name": "decay", "params": decayed, "weight_decay": weight_decay},
        {"name": "no_decay", "params": plain, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]

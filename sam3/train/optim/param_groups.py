"""Parameter groups of an optimiser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

# Tables that are looked up or added, not multiplied: decay would only shrink them.
_TABLE_NAMES = ("pos_embed", "positional_embedding", "cls_token")


def weight_decay_groups(
    model: nn.Module, weight_decay: float, lr_scales: Mapping[str, float] | None = None
) -> list[dict[str, Any]]:
    """Groups of trainable parameters: decayed matrices, and all else without decay.

    No decay for one-dimensional parameters (biases, norms), embeddings and position tables.

    Args:
        lr_scales: factors on the learning rate by the start of a parameter's name (default 1).

    Returns:
        groups with ``params``, ``weight_decay``, ``lr_scale`` and ``name``, in a fixed order,
        without empty ones.
    """
    scales = {"": 1.0, **(lr_scales or {})}
    tables = {
        id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters(False)
    }
    groups: dict[tuple[str, bool], dict[str, Any]] = {}
    for start, scale in scales.items():
        for decays in (True, False):
            groups[start, decays] = {
                "name": " ".join(filter(None, (start, "decay" if decays else "no_decay"))),
                "params": [],
                "weight_decay": weight_decay if decays else 0.0,
                "lr_scale": scale,
            }
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        keep_whole = (
            parameter.ndim < 2 or id(parameter) in tables or name.rpartition(".")[2] in _TABLE_NAMES
        )
        start = max((s for s in scales if name.startswith(s)), key=len)
        groups[start, not keep_whole]["params"].append(parameter)
    return [group for group in groups.values() if group["params"]]

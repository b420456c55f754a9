"""Write a checkpoint: one safetensors file, names as in the model, configuration in its metadata.

The file appears under its final name only when it is complete.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import CheckpointError, InputError
from .raw import CONFIG_KEY, TRACKER_CONFIG_KEY

logger = logging.getLogger(__name__)


def save_checkpoint(
    model_or_state: nn.Module | Mapping[str, torch.Tensor],
    path: str | os.PathLike[str],
    *,
    config: Mapping[str, Any] | None = None,
    tracker_config: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Save a model or a state dict as safetensors, atomically.

    Args:
        model_or_state: a module, or tensors by name.
        path: target, must end in ``.safetensors``; its folder is made if needed.
        config: JSON-able model configuration for the metadata. None takes
            ``model.config.to_dict()`` where the model has one.
        tracker_config: the same of the tracker, for a file that holds one.
        dtype: convert floating-point tensors to this dtype; None keeps each one's own.
        metadata: further text entries.

    Returns:
        The path written.

    Raises:
        InputError: wrong extension, tensors without data, nothing to save, bad metadata.
        CheckpointError: the file cannot be written; an earlier file of this name is kept.
    """
    target = Path(path)
    if target.suffix != ".safetensors":
        raise InputError(
            f"{target}: checkpoints are saved as .safetensors; choose a name with that ending."
        )
    if isinstance(model_or_state, nn.Module):
        state: Mapping[str, torch.Tensor] = model_or_state.state_dict()
        if config is None and hasattr(getattr(model_or_state, "config", None), "to_dict"):
            config = model_or_state.config.to_dict()  # type: ignore[union-attr, operator]
    else:
        state = model_or_state
    text = _metadata({CONFIG_KEY: config, TRACKER_CONFIG_KEY: tracker_config}, metadata)
    _write(_storable(state, dtype), target, text)
    return target


def _metadata(
    configs: Mapping[str, Mapping[str, Any] | None], extra: Mapping[str, str] | None
) -> dict[str, str]:
    entries = {"format": "pt"}
    for key, value in (extra or {}).items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise InputError(
                f"metadata entry {key!r}: names and values must be text, got "
                f"{type(value).__name__}. Convert it, for example with json.dumps."
            )
        entries[key] = value
    for key, config in configs.items():
        if config is None:
            continue
        try:
            entries[key] = json.dumps(dict(config), sort_keys=True)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{key} cannot be written as JSON ({error}). Pass config.to_dict()."
            ) from error
    return entries


def _storable(
    state: Mapping[str, torch.Tensor], dtype: torch.dtype | None
) -> dict[str, torch.Tensor]:
    """Contiguous CPU tensors that share no memory; computed complex tables left out."""
    result: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, tensor in state.items():
        tensor = tensor.detach()
        if tensor.is_complex():  # safetensors has no widely readable complex dtype
            continue
        if tensor.is_meta:
            raise InputError(
                f"{name!r} is on the meta device and has no data. Load or initialise the model "
                f"before saving it."
            )
        tensor = tensor.to(
            device="cpu", dtype=dtype if tensor.is_floating_point() else None
        ).contiguous()
        storage = tensor.untyped_storage()
        if storage.data_ptr() in seen or storage.nbytes() != tensor.nbytes:
            tensor = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
        result[name] = tensor
    if not result:
        raise InputError("there is no tensor to save. Pass a model or its state_dict().")
    return result


def _write(state: dict[str, torch.Tensor], target: Path, metadata: dict[str, str]) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    temporary = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            mode = os.fstat(file.fileno()).st_mode
        save_file(state, str(temporary), metadata=metadata)
        os.chmod(temporary, mode)  # safetensors makes files that only their owner can read
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())  # else a crash may leave an empty file under the final name
        os.replace(temporary, target)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{target}: cannot be written ({error}). Check the folder, its permissions and the "
            f"free space; nothing was left under this name that was not there before."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    logger.debug("saved %d tensors to %s", len(state), target)

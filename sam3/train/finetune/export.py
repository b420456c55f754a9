"""The fine-tuned weights as a checkpoint: the file they came from, its trained tensors changed.

Every name, dtype and everything that is not the image model (tracker, necks) stays, so whatever
loads the original loads the result.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...checkpoint import RawCheckpoint, save_checkpoint, to_huggingface
from ...checkpoint.huggingface import IMAGE_PREFIX
from ...checkpoint.layouts import is_computed
from ...config import Sam3ImageConfig, presets
from ...errors import InputError

MODEL_FILE = "model.safetensors"
TRANSFORMERS_FOLDER = "transformers"
NOTE = "sam3_finetuned"  # metadata entry: phrases and steps


def export(
    state: Mapping[str, Tensor],
    source: RawCheckpoint,
    path: Path,
    config: Sam3ImageConfig,
    note: Mapping[str, Any] | None = None,
) -> Path:
    """Write a checkpoint in the layout of ``source``.

    Args:
        state: trained tensors by the image model's names; those it lacks are taken from ``source``.
        source: the opened checkpoint that the training started from.
        path: target, whole or not at all.
        config: of the image model.
        note: JSON-able facts for the file's metadata.
    """
    changed = _by_stored_name(state, source)
    tensors: dict[str, Tensor] = {}
    for name, info in source.infos.items():
        new = changed.get(name)
        tensors[name] = source.tensor(name) if new is None else new.to("cpu", info.dtype)
    metadata = {} if note is None else {NOTE: json.dumps(note, sort_keys=True)}
    return save_checkpoint(
        tensors,
        path,
        config=source.config or config.to_dict(),
        tracker_config=source.tracker_config,
        metadata=metadata,
    )


def export_transformers(
    state: Mapping[str, Tensor], source: RawCheckpoint, folder: Path, config: Sam3ImageConfig
) -> Path:
    """Write the image model as ``transformers.Sam3Model.from_pretrained(folder)`` loads it.

    Raises:
        InputError: transformers has no words for the sizes of this model.
    """
    check_transformers(config)
    whole = complete_state(state, source)
    tensors = to_huggingface(whole, keep_extras=False)
    save_checkpoint(tensors, folder / MODEL_FILE, dtype=torch.float32)
    words = {"model_type": "sam3", "architectures": ["Sam3Model"], "dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(words, indent=2) + "\n", encoding="utf-8")
    return folder


def check_transformers(config: Sam3ImageConfig) -> None:
    """InputError unless ``config`` is the released image model, which transformers builds."""
    if config != presets.SAM3_IMAGE:
        raise InputError(
            f"--transformers writes the released image model only, and this is {config.name!r} of "
            "other sizes; leave the option out"
        )


def complete_state(state: Mapping[str, Tensor], source: RawCheckpoint) -> dict[str, Tensor]:
    """All tensors of the image model in ``source``, the trained ones from ``state``."""
    return {
        name: state[name] if name in state else recipe.build(source.tensor)
        for name, recipe in source.layout_details.image.items()
        if not is_computed(name)
    }


def _by_stored_name(state: Mapping[str, Tensor], source: RawCheckpoint) -> dict[str, Tensor]:
    """Trained tensors by the names that ``source`` has for them."""
    layout = source.layout_details
    if layout.kind == "sam3":
        return {
            recipe.sources[0]: state[name]
            for name, recipe in layout.image.items()
            if name in state and not is_computed(name)
        }
    converted = to_huggingface(complete_state(state, source), keep_extras=True)
    names = {name.removeprefix(IMAGE_PREFIX): name for name in source.infos}
    return {names[name]: tensor for name, tensor in converted.items() if name in names}

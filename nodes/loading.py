"""From a name in the menu to a model ready to run: found or fetched, built once, shared.

The models live in one cache and in ComfyUI's memory manager, which evicts and offloads them like
any other model.
"""

from __future__ import annotations

import gc
import logging
import os
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..sam3.errors import InputError
from . import host

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher

    from ..sam3.model.sam3_image import Sam3Image

log = logging.getLogger(__name__)

# Two, so that a workflow that mixes two models does not read them again and again.
MAX_MODELS = 2
# Working memory besides the weights, per pixel of the model's square input and byte of a number:
# about 1 GiB for 1008 x 1008 in half precision.
ACTIVATION_BYTES = 512

Key = tuple[str, int, int, str, str]


class SAM3(nn.Module):
    """Holder of the image model with a ``device`` the host may write; the model's is read-only."""

    def __init__(self, model: Sam3Image) -> None:
        super().__init__()
        self.model = model
        self.device: torch.device | None = None


@dataclass(frozen=True, eq=False)
class SharedModel:
    """A cached model: its cache key and the host's wrapper around it."""

    key: Key
    patcher: ModelPatcher

    @property
    def model(self) -> Sam3Image:
        """The image model."""
        return self.patcher.model.model

    @property
    def tokenizer(self) -> Any:
        """The text encoder's tokenizer."""
        return self.model.backbone.language_backbone.tokenizer


_cache: OrderedDict[Key, SharedModel] = OrderedDict()


def model_choices() -> list[str]:
    """Names for the menu: the published models, then weight files found.

    ``models/sam3`` is listed whole; of ``models/checkpoints`` only names that contain "sam3". The
    standard files of the published models stand behind their names and are not listed again.
    """
    from ..sam3.checkpoint.catalog import CATALOG, CHECKPOINT_SUFFIXES

    standard = {file for entry in CATALOG.values() for file in entry.file_names}
    own = host.model_files(host.MODEL_FOLDER)
    other = [n for n in host.model_files("checkpoints") if "sam3" in os.path.basename(n).lower()]
    found = {
        name
        for name in [*own, *other]
        if name.lower().endswith(CHECKPOINT_SUFFIXES) and name not in standard
    }
    return [*CATALOG, *sorted(found, key=str.lower)]


def check_model_name(name: str) -> str | None:
    """Why a model cannot be used, or None if its file is there or can be fetched."""
    from ..sam3.checkpoint.catalog import CATALOG, find_local

    folders = host.model_folders()
    known = isinstance(name, str) and bool(name.strip())
    if known and (name in CATALOG or find_local(name, folders) is not None):
        return None
    return (
        f"The model {name!r} was not found. Choose one of {', '.join(model_choices())}, or put its "
        f"file into {folders[0]} and refresh the page."
    )


def shared_model(name: str, device_choice: str) -> SharedModel:
    """The model behind a name, built when it is used for the first time.

    Args:
        name: an entry of ``model_choices``.
        device_choice: ``Auto``, ``CPU`` or ``GPU``.

    Returns:
        The shared model, not yet on its device.

    Raises:
        InputError: unknown name or device.
        DeviceError: ``GPU`` without one.
        CheckpointError: the file is not a usable checkpoint.
        DownloadError: the weights are not here and could not be fetched.
    """
    device = host.pick_device(device_choice)
    path = _weights(name)
    precision = host.pick_precision(device)
    stat = path.stat()
    key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns, str(device), precision)
    if key in _cache:
        _cache.move_to_end(key)
        return _cache[key]
    while len(_cache) >= MAX_MODELS:
        release(next(iter(_cache.values())))
    shared = SharedModel(key, host.wrap_model(_build(path, device, precision), device))
    _cache[key] = shared
    return shared


def make_processor(shared: SharedModel, confidence_threshold: float) -> Any:
    """Bring the model to its device and give the processor that runs it."""
    from ..sam3.model.sam3_image_processor import Sam3Processor

    size = shared.model.config.vision.img_size
    largest = max((p.element_size() for p in shared.model.backbone.parameters()), default=4)
    host.load_model(shared.patcher, ACTIVATION_BYTES * size * size * largest)
    return Sam3Processor(
        shared.model,
        device=shared.patcher.load_device,
        confidence_threshold=confidence_threshold,
    )


def release(shared: SharedModel) -> None:
    """Take a model off its device and forget it."""
    _cache.pop(shared.key, None)
    host.unload_model(shared.patcher)
    gc.collect()
    host.release_memory()


def _weights(name: str) -> Path:
    """The file behind a name; fetched, with the host's progress bar, if it is nowhere."""
    from ..sam3.checkpoint.resolve import resolve_model

    if reason := check_model_name(name):
        raise InputError(reason)
    bar = None

    def progress(done: int, total: int) -> None:
        nonlocal bar
        host.stop_if_cancelled()
        if bar is None:
            log.info("Downloading the weights of %s (%.1f GB)", name, total / 1e9)
            bar = host.progress_bar(total)
        bar.update_absolute(done, total)

    return resolve_model(name, host.model_folders(), progress=progress)


def _build(path: Path, device: torch.device, precision: str) -> SAM3:
    """Read the weights into main memory, in the precision the device will use."""
    from ..sam3.model_builder import build_sam3_image_model
    from ..sam3.precision import resolve_precision

    # Nodes run in inference mode. Parameters made there could not be moved outside of it, where
    # ComfyUI unloads models.
    with torch.inference_mode(False), torch.no_grad():
        model = build_sam3_image_model(
            checkpoint_path=path,
            device="cpu",
            load_from_HF=False,
            precision=resolve_precision(precision, device),
        )
        return SAM3(model.requires_grad_(False))

"""Weights and devices, as every command finds them and complains about them."""

from __future__ import annotations

import logging
from pathlib import Path

from ..errors import CheckpointMismatchError, DeviceError
from . import exit_codes
from .options import ModelOptions

log = logging.getLogger(__name__)


def find_model(options: ModelOptions) -> Path:
    """The weights file; downloads it where that is allowed and needed."""
    from tqdm import tqdm

    from ..checkpoint.catalog import default_folders
    from ..checkpoint.resolve import resolve_model

    folders = [*options.models_folders, *default_folders()]
    with tqdm(unit="B", unit_scale=True, desc=options.model, delay=1, disable=None) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return resolve_model(options.model, folders, allow_download=options.download, progress=show)


def check_tracks(model: str) -> None:
    """CheckpointMismatchError for a known model that cannot track, so that none is downloaded."""
    from ..checkpoint.catalog import CATALOG

    entry = CATALOG.get(model.strip())
    if entry is not None and not entry.tracks:
        raise CheckpointMismatchError(
            f"the tracker of {entry.name} is not supported here. Use --model sam3 for videos;"
            f" {entry.name} segments pictures."
        )


def check_device(name: str | None) -> None:
    """DeviceError for a device that torch does not know or this machine does not have."""
    import torch

    from ..model_builder import pick_device

    try:
        torch.empty(0, device=pick_device(name))
    except DeviceError:
        raise
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DeviceError(f"The device {name!r} cannot be used here: {reason}") from error


def report_unusable(model: str, error: Exception) -> int:
    """Say why a model cannot run here.

    Args:
        model: what the user called it.
        error: DeviceError, or whatever finding and loading it raised.

    Returns:
        The exit code.
    """
    if isinstance(error, DeviceError):
        log.error("%s", error)
        return exit_codes.DEVICE
    log.error("The model %r cannot be used: %s", model, error)
    return exit_codes.MODEL

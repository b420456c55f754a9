"""From what a user writes to a file on disk: a path, a known name, or a file in a models folder.

A local file always wins; only the names of ``catalog.CATALOG`` are ever downloaded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import CheckpointError, InputError
from . import catalog
from .download import fetch_weights

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all) while weights are downloaded."""


def resolve_model(
    name_or_path: str,
    folders: Sequence[str | os.PathLike[str]] | None = None,
    allow_download: bool = True,
    token: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Path of the weights that ``name_or_path`` means.

    Args:
        name_or_path: a path to a file; else a name of ``CATALOG``; else a file name in one of the
            folders, with or without its suffix.
        folders: searched in this order; None means :func:`default_folders`. Downloads go to the
            first one.
        allow_download: whether a known model that is nowhere on disk may be fetched.
        token: Hugging Face token for gated files; None uses the one of the machine, if any.
        progress: called while downloading.

    Returns:
        Path of an existing file.

    Raises:
        InputError: the name is empty or unknown; lists the known names and the folders.
        CheckpointError: the model is known but not there, and may not be downloaded.
        DownloadError: the download failed.
    """
    name = name_or_path.strip()
    if not name:
        raise InputError(f"No model was named. Known models: {', '.join(catalog.CATALOG)}.")
    places = [Path(f) for f in (catalog.default_folders() if folders is None else folders)]
    entry = catalog.CATALOG.get(name)
    if entry is None and Path(name).expanduser().is_file():
        return Path(name).expanduser()
    found = catalog.find_local(name, places)
    if found is not None:
        return found
    if entry is None:
        raise InputError(
            f"There is no model {name!r}: it is neither a file, nor one of the known models "
            f"({', '.join(catalog.CATALOG)}), nor a file in {_listed(places)}."
        )
    if entry.bundled:
        raise CheckpointError(
            f"{catalog.ASSETS / entry.file_names[0]} is missing: the installation is incomplete. "
            "Install the pack again, or fetch the file with Git LFS if your copy uses it."
        )
    if not allow_download or not places:
        raise CheckpointError(
            f"The weights of {name!r} are not on this machine and downloading is off. Put "
            f"{' or '.join(entry.file_names)} into one of {_listed(places)}; see {entry.page}."
        )
    return fetch_weights(name, places[0], token=token, progress=progress)


def _listed(folders: Sequence[Path]) -> str:
    return ", ".join(str(f) for f in folders) or "any folder (none was given)"

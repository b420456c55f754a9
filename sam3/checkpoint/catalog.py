"""Model names, the files they stand for, and where those files are looked for.

A name is one of ``CATALOG`` (``sam3``, ``sam3.1``, ``sam3-tiny``), the name of a file in a models
folder, or a path. A local file always wins; only the known names are ever downloaded.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ASSETS = Path(__file__).resolve().parent.parent / "assets"
CHECKPOINT_SUFFIXES = (".safetensors", ".pt", ".pth")
MODELS_VARIABLE = "SAM3_MODELS"
"""Environment variable: folders with weights, separated like PATH; searched first."""


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """A model that is known by name.

    Attributes:
        name: what the user writes.
        file_names: names its weights have when published, the preferred one first.
        bundled: whether the file comes with the package (``sam3/assets``).
        page: where a person finds the weights.
        tracks: whether the weights hold a tracker that the video model can use.
    """

    name: str
    file_names: tuple[str, ...]
    bundled: bool = False
    page: str = ""
    tracks: bool = True


CATALOG: dict[str, ModelEntry] = {
    entry.name: entry
    for entry in (
        ModelEntry(
            name="sam3",
            file_names=("sam3.safetensors", "sam3.pt"),
            page="https://huggingface.co/facebook/sam3",
        ),
        ModelEntry(
            name="sam3.1",
            file_names=(
                "sam3.1_multiplex_fp16.safetensors",
                "sam3.1_multiplex.safetensors",
                "sam3.1_multiplex.pt",
            ),
            page="https://huggingface.co/Comfy-Org/sam3.1",
            tracks=False,
        ),
        ModelEntry(name="sam3-tiny", file_names=("sam3_tiny.safetensors",), bundled=True),
    )
}


def find_local(name: str, folders: Iterable[str | os.PathLike[str]]) -> Path | None:
    """The file of a known model, or of a file name, in the first folder that has it.

    Args:
        name: a name of ``CATALOG``, or a file name with or without its suffix. Sub-folders may be
            part of it; the result always lies inside one of the folders.
        folders: looked through in this order; missing ones are passed over.

    Returns:
        The path, or None.
    """
    entry = CATALOG.get(name)
    if entry is not None and entry.bundled:
        path = ASSETS / entry.file_names[0]
        return path if path.is_file() else None
    candidates = entry.file_names if entry else _spellings(name)
    for folder in map(Path, folders):
        root = os.path.abspath(folder)
        for candidate in candidates:
            path = folder / candidate
            # Compared as written: a file inside may be a link to weights kept on another disk.
            if path.is_file() and Path(os.path.abspath(path)).is_relative_to(root):
                return path
    return None


def list_models(folders: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Names to offer in a menu: the known models, then other weight files of the folders.

    Args:
        folders: searched without their sub-folders.

    Returns:
        Known names first, then file names in alphabetical order, each once. Files that a known
        name stands for are not repeated.
    """
    known = {file for entry in CATALOG.values() for file in entry.file_names}
    others: set[str] = set()
    for folder in map(Path, folders):
        if folder.is_dir():
            names = (p.name for p in folder.iterdir() if p.suffix.lower() in CHECKPOINT_SUFFIXES)
            others.update(n for n in names if n not in known)
    return [*CATALOG, *sorted(others, key=str.lower)]


def default_folders() -> list[Path]:
    """Folders searched outside ComfyUI, in this order; they need not exist.

    ``$SAM3_MODELS``; ``models/sam3`` and ``models/checkpoints`` of the ComfyUI that this checkout
    is installed in as a custom node, if it is; the same two below the working folder.
    """
    listed = os.environ.get(MODELS_VARIABLE, "").split(os.pathsep)
    folders = [Path(item).expanduser() for item in listed if item.strip()]
    pack = Path(__file__).resolve().parents[2]
    inside_comfyui = pack.parent.name == "custom_nodes"
    roots = [*([pack.parent.parent] if inside_comfyui else []), Path.cwd()]
    for root in roots:
        folders += [root / "models" / "sam3", root / "models" / "checkpoints"]
    return list(dict.fromkeys(folders))


def _spellings(name: str) -> tuple[str, ...]:
    """A file name as it is, then with each suffix that weights have."""
    if Path(name).suffix.lower() in CHECKPOINT_SUFFIXES:
        return (name,)
    return tuple(name + suffix for suffix in CHECKPOINT_SUFFIXES)

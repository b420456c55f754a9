"""Open a checkpoint of any supported format: ``read_checkpoint(path)``.

Formats are told by content, not by the file's extension. What is not a checkpoint (an HTML
page, a Git LFS pointer, an empty or cut-off file) is named for what it is.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import CheckpointFormatError
from .raw import RawCheckpoint, TensorReader
from .safetensors_reader import SafetensorsReader, ShardedReader, looks_like_safetensors
from .torch_reader import ZIP_MAGIC, TorchReader

ALLOWED = "Expected a .safetensors file or a .pt file made by torch.save."
_FOLDER_FILES = ("model.safetensors.index.json", "model.safetensors", "sam3.pt")
_HEAD_BYTES = 1024


def read_checkpoint(path: str | os.PathLike[str] | RawCheckpoint) -> RawCheckpoint:
    """Open a checkpoint; tensors are read later, on demand.

    Args:
        path: a ``.safetensors`` or ``.pt`` file, a ``*.safetensors.index.json``, or a folder
            that holds ``model.safetensors[.index.json]`` or ``sam3.pt``. An opened checkpoint
            is returned as it is.

    Raises:
        CheckpointFormatError: missing, unreadable, damaged, unsafe or not a checkpoint; the
            message names the file, what was found and what to do.
    """
    if isinstance(path, RawCheckpoint):
        return path
    file = Path(path)
    try:
        file = _resolve(file)
        return RawCheckpoint(path=file, reader=_open(file))
    except OSError as error:
        raise CheckpointFormatError(
            f"{file}: cannot be read ({error.strerror or error}). "
            f"Check that the file exists and that you may read it."
        ) from error


def _resolve(path: Path) -> Path:
    if not path.is_dir():
        return path
    for name in _FOLDER_FILES:
        if (path / name).is_file():
            return path / name
    found = sorted(entry.name for entry in path.iterdir())[:5]
    raise CheckpointFormatError(
        f"{path}: a folder without a checkpoint (looked for {', '.join(_FOLDER_FILES)}; "
        f"found {found or 'nothing'}). Give the weight file itself."
    )


def _open(path: Path) -> TensorReader:
    with open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
    if path.name.endswith(".index.json"):
        return ShardedReader(path)
    if looks_like_safetensors(head):
        return SafetensorsReader(path)
    problem = _not_a_checkpoint(head)
    if problem:
        raise CheckpointFormatError(f"{path}: {problem}")
    if head.startswith(ZIP_MAGIC) and path.suffix == ".safetensors":
        # torch.load itself goes by this ending and would misread the file.
        raise CheckpointFormatError(
            f"{path}: a zip archive, as torch.save writes it, under a .safetensors name. "
            f"If it is a checkpoint, rename it to {path.with_suffix('.pt').name}."
        )
    if head.startswith(ZIP_MAGIC):
        return TorchReader(path, is_zip=True)
    if path.suffix == ".safetensors":
        return SafetensorsReader(path)  # says what is wrong with its header
    if head[:1] == b"\x80":
        return TorchReader(path, is_zip=False)
    raise CheckpointFormatError(
        f"{path}: neither safetensors nor a torch file (starts with {head[:16]!r}). "
        f"{ALLOWED} Download it again."
    )


def _not_a_checkpoint(head: bytes) -> str | None:
    """What a file that certainly is no checkpoint is, with advice; None if it may be one."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return "the file is empty. Download it again."
    if text.startswith(b"version https://git-lfs"):
        return (
            "a Git LFS pointer, not the weights themselves. "
            "Run 'git lfs pull', or download the file from its page."
        )
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        return (
            "a web page saved under this name, not weights. Download the file itself "
            "(log in and accept the licence first if its page asks for that)."
        )
    if text.startswith((b"{", b"[")):
        return f"a JSON text, not weights. {ALLOWED} Download it again."
    if head.startswith(b"GGUF"):
        return f"a GGUF file, which is not supported. {ALLOWED}"
    if not head.strip(b"\0"):
        return "begins with zeros only, an interrupted download. Download it again."
    return None

"""Read ``torch.save`` files safely: ``weights_only=True`` always, memory-mapped where possible.

There is deliberately no fallback to full unpickling: a file that needs it is refused.
"""

from __future__ import annotations

import gc
import pickle
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointFormatError
from .tensor_info import TensorInfo, file_fingerprint

MIN_TORCH = (2, 6)  # earlier versions can run code from a pickle in spite of weights_only=True
ZIP_MAGIC = b"PK\x03\x04"
MAX_ENTRIES = 100_000
MAX_PICKLE_BYTES = 64 * 1024 * 1024  # names and shapes only; the published file needs < 1 MiB
AGAIN = "Download or copy the file again."
SAFER = (
    "Only plain tensors are loaded from .pt files, for your safety; "
    "use a .safetensors file or the file as published."
)
_WRAPPERS = ("model", "state_dict")


def torch_version() -> tuple[int, int]:
    """(major, minor) of the installed torch."""
    match = re.match(r"(\d+)\.(\d+)", torch.__version__)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def check_archive(path: Path) -> None:
    """Refuse zip files that are damaged or unpack to more than they are.

    Raises:
        CheckpointFormatError: not a readable archive, compressed entries, or no pickle inside.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, EOFError, struct.error) as error:
        raise CheckpointFormatError(
            f"{path}: damaged or cut short .pt archive ({error}). {AGAIN}"
        ) from error
    if len(entries) > MAX_ENTRIES:
        raise CheckpointFormatError(f"{path}: {len(entries)} entries are no checkpoint. {SAFER}")
    packed = [e.filename for e in entries if e.compress_type != zipfile.ZIP_STORED]
    if packed or sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise CheckpointFormatError(
            f"{path}: holds compressed or overlapping entries (first: {packed[:1]}), which "
            f"torch.save never writes; it may unpack to any size. Unzip it first if it is a "
            f"zipped checkpoint, else do not use it."
        )
    pickles = [entry for entry in entries if entry.filename.rsplit("/", 1)[-1] == "data.pkl"]
    if len(pickles) != 1:
        raise CheckpointFormatError(
            f"{path}: a zip file, but not one made by torch.save ({len(pickles)} data.pkl inside). "
            f"If it is a zipped checkpoint, unzip it first."
        )
    if pickles[0].file_size > MAX_PICKLE_BYTES:
        raise CheckpointFormatError(
            f"{path}: its table of contents has {pickles[0].file_size} bytes "
            f"(allowed: {MAX_PICKLE_BYTES}). {SAFER}"
        )


class TorchReader:
    """A ``torch.save`` file: zip archive (memory-mapped) or the legacy pickle stream.

    Raises:
        CheckpointFormatError: torch older than 2.6, a damaged file, a pickle that wants more
            than tensors, or contents that are not a state dict.
    """

    def __init__(self, path: Path, *, is_zip: bool) -> None:
        if torch_version() < MIN_TORCH:
            raise CheckpointFormatError(
                f"{path}: .pt files are refused with torch {torch.__version__}, which can run "
                f"code hidden in them (CVE-2025-32434). Update to torch >= 2.6 or use a "
                f".safetensors file."
            )
        self.path = path
        self.files: tuple[Path, ...] = (path,)
        self._fingerprint = file_fingerprint(path)
        self.format = "torch-zip" if is_zip else "torch-legacy"
        self.metadata: dict[str, str] = {}
        if is_zip:
            check_archive(path)
        self._is_zip = is_zip
        self._tensors: dict[str, torch.Tensor] | None = None
        self.infos: dict[str, TensorInfo] = {
            name: TensorInfo(tuple(tensor.shape), tensor.dtype)
            for name, tensor in self._load().items()
        }

    def _load(self) -> dict[str, torch.Tensor]:
        if self._tensors is None:
            self._tensors = state_dict_of(self.path, self._unpickle())
        return self._tensors

    def _unpickle(self) -> Any:
        try:
            if file_fingerprint(self.path) != self._fingerprint:
                raise OSError("the file was replaced while it was being read")
            return torch.load(
                str(self.path), map_location="cpu", weights_only=True, mmap=self._is_zip
            )
        except pickle.UnpicklingError as error:
            reason = str(error).split("\n", 1)[0][:300]
            raise CheckpointFormatError(
                f"{self.path}: not a file of plain tensors, refused ({reason}). {SAFER}"
            ) from error
        except (MemoryError, Exception) as error:  # torch raises many types on damaged files
            reason = str(error).split("\n", 1)[0][:300]
            raise CheckpointFormatError(
                f"{self.path}: damaged or cut short .pt file "
                f"({type(error).__name__}: {reason}). {AGAIN}"
            ) from error

    def tensor(self, name: str) -> torch.Tensor:
        """The tensor called ``name``: a view of the mapped file (copy on write) for archives."""
        return self._load()[name]

    def release(self) -> None:
        """Drop the mapping; the next ``tensor`` maps the file again (archives only)."""
        if self._is_zip and self._tensors is not None:
            self._tensors = None
            gc.collect()  # torch.load leaves reference cycles that keep the mapping alive


def state_dict_of(path: Path, loaded: Any) -> dict[str, torch.Tensor]:
    """The state dict inside an unpickled checkpoint, out of a ``"model"`` wrapper if any.

    Raises:
        CheckpointFormatError: no dict of tensors by name.
    """
    if isinstance(loaded, Mapping):
        for wrapper in _WRAPPERS:
            if isinstance(loaded.get(wrapper), Mapping):
                loaded = loaded[wrapper]
                break
    if not isinstance(loaded, Mapping) or not loaded:
        raise CheckpointFormatError(
            f"{path}: holds {_describe(loaded)}, expected a state dict (tensors by name, "
            f"possibly under 'model'). Use the file as published."
        )
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise CheckpointFormatError(
                f"{path}: entry {name!r} is a {type(value).__name__}, expected a tensor by name. "
                f"If this is a training snapshot, use the exported model weights."
            )
        if value.layout != torch.strided or value.is_quantized:
            raise CheckpointFormatError(
                f"{path}: entry {name!r} is sparse or quantised, which is not supported. "
                f"Use an fp32, fp16 or bf16 file."
            )
    return dict(loaded)


def _describe(loaded: Any) -> str:
    if isinstance(loaded, Mapping):
        return "an empty dict"
    return f"a {type(loaded).__name__}"

"""A checkpoint file as it lies on disk: names, shapes and dtypes known, tensors read on demand.

``RawCheckpoint`` is what ``read_checkpoint`` returns. It hides whether the bytes come from one
safetensors file, several shards or a ``torch.save`` archive. Names are the file's own; how they
map onto the image model is the business of ``layouts``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch

from ..errors import CheckpointFormatError
from .layouts import Layout, detect_layout
from .tensor_info import TensorInfo

CONFIG_KEY = "sam3_config"  # metadata entry holding the model configuration as JSON
TRACKER_CONFIG_KEY = "sam3_tracker_config"  # the same of the tracker, where there is one


class TensorReader(Protocol):
    """What a file format has to offer to be read lazily."""

    infos: dict[str, TensorInfo]
    metadata: dict[str, str]
    format: str
    files: tuple[Path, ...]

    def tensor(self, name: str) -> torch.Tensor:
        """The tensor called ``name`` on the CPU; may be a view of memory-mapped pages."""
        ...

    def release(self) -> None:
        """Let go of mapped pages; the next ``tensor`` maps the file again."""
        ...


@dataclass(frozen=True)
class RawCheckpoint:
    """An opened checkpoint: tensors by the names the file uses, read lazily.

    Attributes:
        path: the file (or the folder of a sharded checkpoint).
        reader: the format's reader; use the methods here instead.
    """

    path: Path
    reader: TensorReader

    @property
    def format(self) -> str:
        """``safetensors``, ``safetensors-sharded``, ``torch-zip`` or ``torch-legacy``."""
        return self.reader.format

    @property
    def files(self) -> tuple[Path, ...]:
        """The files read: one, or index and shards."""
        return self.reader.files

    @property
    def metadata(self) -> Mapping[str, str]:
        """Text metadata of the file ({} where the format has none)."""
        return self.reader.metadata

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        """Shape and dtype per stored name, in file order."""
        return self.reader.infos

    def __len__(self) -> int:
        return len(self.infos)

    def __iter__(self) -> Iterator[str]:
        return iter(self.infos)

    def __contains__(self, name: object) -> bool:
        return name in self.infos

    def __enter__(self) -> RawCheckpoint:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def tensor(self, name: str) -> torch.Tensor:
        """Read one tensor (CPU, the file's dtype); may be a memory-mapped view.

        Raises:
            KeyError: no tensor of this name.
            CheckpointFormatError: its data cannot be read.
        """
        if name not in self.infos:
            raise KeyError(name)
        return self.reader.tensor(name)

    def release(self) -> None:
        """Give mapped pages back; tensors already handed out keep theirs alive."""
        self.reader.release()

    @property
    def config(self) -> dict[str, Any] | None:
        """The model configuration embedded in the file's metadata, or None.

        Raises:
            CheckpointFormatError: there is one, but it is not a JSON object.
        """
        return self._json_entry(CONFIG_KEY)

    @property
    def tracker_config(self) -> dict[str, Any] | None:
        """The tracker's configuration in the metadata, or None; raises as :attr:`config`."""
        return self._json_entry(TRACKER_CONFIG_KEY)

    def _json_entry(self, key: str) -> dict[str, Any] | None:
        text = self.metadata.get(key)
        if text is None:
            return None
        try:
            entry = json.loads(text)
        except ValueError as error:
            raise CheckpointFormatError(
                f"{self.path}: the metadata entry {key!r} is not valid JSON ({error}). "
                f"Save the checkpoint again, or remove that entry."
            ) from error
        if not isinstance(entry, dict):
            raise CheckpointFormatError(
                f"{self.path}: the metadata entry {key!r} holds a "
                f"{type(entry).__name__}, expected a JSON object. Save the checkpoint again."
            )
        return entry

    @cached_property
    def layout_details(self) -> Layout:
        """Everything the names tell, see ``layouts.detect_layout``."""
        return detect_layout(self.infos)

    @property
    def layout(self) -> str:
        """``sam3``, ``huggingface``, ``huggingface-video`` or ``unknown``."""
        return self.layout_details.kind

    @property
    def version(self) -> str | None:
        """``"3.0"``, ``"3.1"`` or None where the names do not tell (image-only files)."""
        return self.layout_details.version

"""Read safetensors files lazily: header checks of our own, tensors by ``safetensors.safe_open``.

The header is looked at before the library sees it, so that a broken file is explained in words
(cut short, header too large, names twice, data outside the file) and shapes are known for free.
"""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointFormatError
from .tensor_info import TensorInfo, file_fingerprint

MAX_HEADER_BYTES = 100 * 1024 * 1024  # the format's own limit
AGAIN = "Download or copy the file again."

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
}


def looks_like_safetensors(head: bytes) -> bool:
    """Whether the first bytes of a file are a header length followed by ``{``."""
    # A zero byte in the length (lengths are far below 2**56) tells it from a text.
    return len(head) > 8 and head[8:9] == b"{" and b"\0" in head[:8]


def read_header(path: Path) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    """Parse and check the header of a safetensors file.

    Returns:
        tensors by name in the order of their data, and the text metadata.

    Raises:
        CheckpointFormatError: the header is broken or does not fit the file.
        OSError: the file cannot be read.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(8)
        if len(head) < 8:
            raise CheckpointFormatError(f"{path}: only {size} bytes, cut short. {AGAIN}")
        (length,) = struct.unpack("<Q", head)
        if length > MAX_HEADER_BYTES or length < 2:
            raise CheckpointFormatError(
                f"{path}: not a safetensors file: it claims a header of {length} bytes "
                f"(allowed: 2 to {MAX_HEADER_BYTES}). {AGAIN}"
            )
        if length + 8 > size:
            raise CheckpointFormatError(
                f"{path}: cut short: the header needs {length + 8} bytes, "
                f"the file has {size}. {AGAIN}"
            )
        text = file.read(length)
    header = _parse_json(path, text)
    metadata = header.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict):
        raise CheckpointFormatError(f"{path}: broken safetensors header: metadata is no object.")
    infos = _tensor_infos(path, header, size - 8 - length)
    return infos, {str(key): str(value) for key, value in metadata.items()}


def _parse_json(path: Path, text: bytes) -> dict[str, Any]:
    def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            names = [name for name, _ in pairs]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise CheckpointFormatError(
                f"{path}: broken safetensors header: {twice[:3]} occur more than once. {AGAIN}"
            )
        return result

    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=no_duplicates)
    except (ValueError, RecursionError) as error:
        raise CheckpointFormatError(
            f"{path}: broken safetensors header: not valid JSON ({error}). {AGAIN}"
        ) from error
    if not isinstance(header, dict):
        raise CheckpointFormatError(f"{path}: broken safetensors header: not a JSON object.")
    return header


def _tensor_infos(path: Path, header: dict[str, Any], data_bytes: int) -> dict[str, TensorInfo]:
    placed: list[tuple[int, int, str, TensorInfo]] = []
    for name, entry in header.items():
        try:
            dtype = _DTYPES.get(entry["dtype"])
            shape = tuple(int(n) for n in entry["shape"])
            begin, end = (int(n) for n in entry["data_offsets"])
        except (TypeError, KeyError, ValueError) as error:
            raise CheckpointFormatError(
                f"{path}: broken safetensors header: entry {name!r} is malformed. {AGAIN}"
            ) from error
        if dtype is None:
            raise CheckpointFormatError(
                f"{path}: tensor {name!r} has dtype {entry['dtype']!r}, which is not supported "
                f"(allowed: {', '.join(_DTYPES)}). Use an fp32, fp16 or bf16 file."
            )
        info = TensorInfo(shape, dtype)
        if any(n < 0 for n in shape) or begin < 0 or end - begin != info.nbytes:
            raise CheckpointFormatError(
                f"{path}: broken safetensors header: tensor {name!r} of shape {list(shape)} "
                f"does not fit its bytes {begin}..{end}. {AGAIN}"
            )
        placed.append((begin, end, name, info))
    placed.sort(key=lambda item: item[:2])
    position = 0
    for begin, end, name, _ in placed:
        if begin != position:
            raise CheckpointFormatError(
                f"{path}: broken safetensors header: tensor {name!r} overlaps another one or "
                f"leaves a hole (starts at {begin}, expected {position}). {AGAIN}"
            )
        position = end
    if position != data_bytes:
        what = "cut short" if position > data_bytes else "followed by foreign bytes"
        raise CheckpointFormatError(
            f"{path}: {what}: its tensors need {position} bytes, the file holds {data_bytes} "
            f"after the header. {AGAIN}"
        )
    return {name: info for _, _, name, info in placed}


class SafetensorsReader:
    """One safetensors file, memory-mapped.

    Raises:
        CheckpointFormatError: the file is broken (see ``read_header``).
    """

    format = "safetensors"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files: tuple[Path, ...] = (path,)
        self._fingerprint = file_fingerprint(path)
        self.infos, self.metadata = read_header(path)
        self._handle: Any = None

    def tensor(self, name: str) -> torch.Tensor:
        """The tensor called ``name``: a view of the mapped file (copy on write)."""
        from safetensors import SafetensorError, safe_open

        try:
            if self._handle is None:
                if file_fingerprint(self.path) != self._fingerprint:
                    raise OSError("the file was replaced while it was being read")
                self._handle = safe_open(str(self.path), framework="pt", device="cpu")
            return self._handle.get_tensor(name)
        except (SafetensorError, OSError, RuntimeError) as error:
            raise CheckpointFormatError(
                f"{self.path}: tensor {name!r} cannot be read ({error}). {AGAIN}"
            ) from error

    def release(self) -> None:
        """Close the mapping; the next ``tensor`` opens it again."""
        self._handle = None


class ShardedReader:
    """Several safetensors files joined by an index (``*.safetensors.index.json``).

    Raises:
        CheckpointFormatError: the index is broken, names files outside its folder, or a shard
            is missing or does not hold what the index says.
    """

    format = "safetensors-sharded"

    def __init__(self, index: Path) -> None:
        try:
            weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            files = sorted(set(weight_map.values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointFormatError(
                f"{index}: not an index of a sharded checkpoint (no readable 'weight_map'). {AGAIN}"
            ) from error
        self._shards: dict[str, SafetensorsReader] = {}
        for name in files:
            # An index is foreign input: it may name neighbours, never files elsewhere.
            if not isinstance(name, str) or Path(name).name != name or "\\" in name:
                raise CheckpointFormatError(
                    f"{index}: names the shard {name!r}, which is not a plain file name."
                )
            shard = index.parent / name
            if not shard.is_file():
                raise CheckpointFormatError(
                    f"{index}: the shard {name!r} is missing in {index.parent}. Download it too."
                )
            self._shards[name] = SafetensorsReader(shard)
        self.files: tuple[Path, ...] = (index, *(shard.path for shard in self._shards.values()))
        self._file_of: dict[str, str] = dict(weight_map)
        self.infos: dict[str, TensorInfo] = {}
        self.metadata: dict[str, str] = {}
        for name, reader in self._shards.items():
            self.metadata.update(reader.metadata)
            for key, info in reader.infos.items():
                if self._file_of.get(key) != name:
                    raise CheckpointFormatError(
                        f"{index}: tensor {key!r} lies in {name!r}, the index says "
                        f"{self._file_of.get(key)!r}. {AGAIN}"
                    )
                self.infos[key] = info
        missing = [key for key in self._file_of if key not in self.infos]
        if missing:
            raise CheckpointFormatError(
                f"{index}: {len(missing)} tensors of the index are in no shard, first: "
                f"{missing[:3]}. {AGAIN}"
            )

    def tensor(self, name: str) -> torch.Tensor:
        """The tensor called ``name`` from the shard that holds it."""
        return self._shards[self._file_of[name]].tensor(name)

    def release(self) -> None:
        """Close the mappings of all shards."""
        for shard in self._shards.values():
            shard.release()

"""Small facts about stored data: shape and dtype of a tensor, identity of a file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class TensorInfo:
    """Shape and dtype of a stored tensor, known without reading its data."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def numel(self) -> int:
        """Number of values."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def nbytes(self) -> int:
        """Size of the data in bytes."""
        return self.numel * self.dtype.itemsize


def file_fingerprint(path: Path) -> tuple[int, int, int]:
    """(inode, size, mtime in ns): changes when a file is replaced or rewritten.

    Raises:
        OSError: the file is gone or cannot be looked at.
    """
    status = os.stat(path)
    return status.st_ino, status.st_size, status.st_mtime_ns

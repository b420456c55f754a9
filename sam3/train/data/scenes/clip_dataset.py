"""Reads pre-rendered clips."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .prerender_clips import COMMAND, MANIFEST
from .shards import open_shards, read_manifest


@dataclass(frozen=True)
class StoredClip:
    """One row of a folder.

    images [T, R, R, 3] and labels [T, R, R] uint8, k + 1 = object k; visible [T, M] bool, false
    in the columns of objects that do not exist.
    """

    images: np.ndarray
    labels: np.ndarray
    visible: np.ndarray


class ClipFolder:
    """Memory-mapped access to the shards that ``prerender_clips`` wrote."""

    def __init__(self, folder: Path) -> None:
        """Raises InputError if the folder holds no clips or some of its shards are missing."""
        manifest = read_manifest(folder, MANIFEST, COMMAND)
        self.resolution, self.frames = int(manifest["resolution"]), int(manifest["frames"])
        self._count, self._shard_size = int(manifest["clips"]), int(manifest["shard_size"])
        shards = open_shards(folder, -(-self._count // self._shard_size), COMMAND)
        names = ("images", "labels", "visible")
        self._shards = [
            {name: np.load(path / f"{name}.npy", mmap_mode="r") for name in names}
            for path in shards
        ]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> StoredClip:
        number, row = divmod(int(index), self._shard_size)
        shard = self._shards[number]
        return StoredClip(shard["images"][row], shard["labels"][row], shard["visible"][row])

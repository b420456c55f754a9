"""Folders of numbered shards: drawn once, complete or absent, bound to the settings they came from.

A shard is a folder of ``.npy`` arrays, a manifest names the settings. Drawing again keeps what is
there, so that an interrupted command goes on where it stopped.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ....errors import InputError

logger = logging.getLogger(__name__)

DrawShard = Callable[[int, Any], Mapping[str, np.ndarray]]
"""Shard number and settings -> arrays by name; a pure function, picklable."""


def shard_path(folder: Path, number: int) -> Path:
    """Where shard ``number`` is or will be."""
    return folder / f"shard_{number:05d}"


def prepare_folder(folder: Path, manifest: str, config: Any) -> None:
    """Create the folder and its manifest, or check that it holds data of the same settings.

    config: a dataclass instance. Raises InputError if the folder was made with other settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / manifest
    wanted = asdict(config)
    if path.exists():
        found = json.loads(path.read_text())
        if found != wanted:
            keys = sorted(found.keys() | wanted.keys())
            differing = [key for key in keys if found.get(key) != wanted.get(key)]
            raise InputError(
                f"{folder} holds data made with other settings ({', '.join(differing)}); "
                "choose another folder or delete this one"
            )
    else:
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(wanted, indent=2))
        os.replace(temporary, path)
    for leftover in folder.glob(".shard_*"):
        shutil.rmtree(leftover, ignore_errors=True)


def draw_shard(folder: Path, number: int, config: Any, draw: DrawShard) -> Path:
    """Draw shard ``number`` into ``folder``; returns its path. An existing shard is left alone."""
    final = shard_path(folder, number)
    if final.is_dir():
        return final
    arrays = draw(number, config)
    temporary = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=folder))
    for name, array in arrays.items():
        np.save(temporary / f"{name}.npy", array)
    try:
        os.replace(temporary, final)
    except OSError:
        shutil.rmtree(temporary)
        if not final.is_dir():  # else another process drew the same shard first
            raise
    return final


def draw_missing(folder: Path, shards: int, config: Any, draw: DrawShard, workers: int = 1) -> None:
    """Draw all of ``shards`` shards that are missing, with ``workers`` processes."""
    missing = [n for n in range(shards) if not shard_path(folder, n).is_dir()]
    if workers <= 1:
        for done, number in enumerate(missing, 1):
            draw_shard(folder, number, config, draw)
            logger.info("shard %d of %d done", done, len(missing))
        return
    with ProcessPoolExecutor(workers) as pool:
        jobs = [pool.submit(draw_shard, folder, number, config, draw) for number in missing]
        for done, job in enumerate(as_completed(jobs), 1):
            job.result()
            logger.info("shard %d of %d done", done, len(missing))


def open_shards(folder: Path, shards: int, command: str) -> list[Path]:
    """Paths of the first ``shards`` shards. InputError names missing ones and the command."""
    paths = [shard_path(folder, number) for number in range(shards)]
    missing = [path.name for path in paths if not path.is_dir()]
    if missing:
        raise InputError(
            f"{folder}: {len(missing)} of {shards} shards are missing, first {missing[0]}; "
            f"run the same {command} command again to finish it"
        )
    return paths


def read_manifest(folder: Path, manifest: str, command: str) -> dict[str, Any]:
    """The settings of a folder. InputError if it has none."""
    path = folder / manifest
    if not path.is_file():
        raise InputError(f"{folder} holds no {manifest}; make it with {command}")
    settings: dict[str, Any] = json.loads(path.read_text())
    return settings

"""Draws scenes ahead of training into memory-mapped shards, resized as inference resizes pictures.

    python -m sam3.train.data.scenes.prerender --out FOLDER --scenes 16384 --resolution 128

A shard is a folder with ``images.npy`` [S, R, R, 3] uint8, ``labels.npy`` [S, R, R] uint8
(0 background, k = object k-1), ``attributes.npy`` [S, M, 3] int8 (-1 = no object), ``boxes.npy``
[S, M, 4] float32 normalised cxcywh and ``levels.npy`` [S] int8. Shards appear whole or not at all,
depend only on the seed and their number, and finished ones are kept when the command runs again.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ....errors import InputError
from .scene import MAX_OBJECTS, Scene, draw_scene, random_size, scene_rng

logger = logging.getLogger(__name__)

MANIFEST = "scenes.json"
DRAWING_VERSION = 3  # raise when the same seed draws other pixels


@dataclass(frozen=True, kw_only=True)
class PrerenderConfig:
    """What a folder of scenes holds. ``simple_share`` is the share of level 0 scenes."""

    scenes: int
    resolution: int = 128
    seed: int = 1
    shard_size: int = 1024
    simple_share: float = 0.2
    max_side: int = 400
    drawing_version: int = DRAWING_VERSION

    def __post_init__(self) -> None:
        if self.scenes < 1 or self.shard_size < 1 or self.resolution < 32:
            raise InputError(
                f"scenes {self.scenes} and shard_size {self.shard_size} must be positive and "
                f"resolution {self.resolution} at least 32"
            )

    @property
    def shards(self) -> int:
        """Number of shards; the last one may be shorter."""
        return -(-self.scenes // self.shard_size)


def square_scene(scene: Scene, resolution: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Resize a scene to the model's square input (aspect not kept).

    Returns image [R, R, 3] uint8 (antialiased bilinear), labels [R, R] uint8 (an object owns a
    pixel if it covers half of it) and boxes [n, 4] float32 normalised cxcywh of the native masks.
    """
    side = (resolution, resolution)
    image = np.array(Image.fromarray(scene.image).resize(side, Image.Resampling.BILINEAR))
    labels = np.zeros(side, dtype=np.uint8)
    for index, mask in enumerate(scene.masks):
        share = Image.fromarray(mask.astype(np.uint8) * 255).resize(side, Image.Resampling.BOX)
        labels[np.asarray(share) >= 128] = index + 1
    height, width = scene.labels.shape
    boxes = scene.boxes / np.array([width, height, width, height], dtype=np.float32)
    centres = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)
    return image, labels, centres.astype(np.float32)


def render_shard(folder: Path, number: int, config: PrerenderConfig) -> Path:
    """Draw shard ``number`` into ``folder`` and return its path; existing shards are left alone."""
    final = folder / f"shard_{number:05d}"
    if final.is_dir():
        return final
    first = number * config.shard_size
    count = min(config.shard_size, config.scenes - first)
    side = config.resolution
    images = np.zeros((count, side, side, 3), dtype=np.uint8)
    labels = np.zeros((count, side, side), dtype=np.uint8)
    attributes = np.full((count, MAX_OBJECTS, 3), -1, dtype=np.int8)
    boxes = np.zeros((count, MAX_OBJECTS, 4), dtype=np.float32)
    levels = np.zeros(count, dtype=np.int8)
    for row in range(count):
        rng = scene_rng(config.seed, first + row)
        levels[row] = rng.random() >= config.simple_share
        scene = draw_scene(rng, random_size(rng, high=config.max_side), int(levels[row]))
        images[row], labels[row], found = square_scene(scene, side)
        attributes[row, : len(found)], boxes[row, : len(found)] = scene.attributes, found
    temporary = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=folder))
    arrays: dict[str, np.ndarray] = {
        "images": images,
        "labels": labels,
        "attributes": attributes,
        "boxes": boxes,
        "levels": levels,
    }
    for name, array in arrays.items():
        np.save(temporary / f"{name}.npy", array)
    try:
        os.replace(temporary, final)
    except OSError:
        shutil.rmtree(temporary)
        if not final.is_dir():  # else another process drew the same shard first
            raise
    return final


def prepare_folder(folder: Path, config: PrerenderConfig) -> None:
    """Create the folder and its manifest, or check that it holds the same scenes.

    Raises InputError if the folder was made with other settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / MANIFEST
    wanted = asdict(config)
    if manifest.exists():
        found = json.loads(manifest.read_text())
        if found != wanted:
            differing = sorted(key for key in wanted if found.get(key) != wanted[key])
            raise InputError(
                f"{folder} holds scenes made with other settings ({', '.join(differing)}); "
                "choose another folder or delete this one"
            )
    else:
        temporary = manifest.with_suffix(".tmp")
        temporary.write_text(json.dumps(wanted, indent=2))
        os.replace(temporary, manifest)
    for leftover in folder.glob(".shard_*"):
        shutil.rmtree(leftover, ignore_errors=True)


def prerender(folder: Path, config: PrerenderConfig, workers: int = 1) -> Path:
    """Draw all shards that are missing with ``workers`` processes; returns the folder."""
    prepare_folder(folder, config)
    missing = [n for n in range(config.shards) if not (folder / f"shard_{n:05d}").is_dir()]
    if workers <= 1:
        for done, number in enumerate(missing, 1):
            render_shard(folder, number, config)
            logger.info("shard %d of %d done", done, len(missing))
        return folder
    with ProcessPoolExecutor(workers) as pool:
        jobs = [pool.submit(render_shard, folder, number, config) for number in missing]
        for done, job in enumerate(as_completed(jobs), 1):
            job.result()
            logger.info("shard %d of %d done", done, len(missing))
    return folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="prerender", description="Draw training scenes into a folder."
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the shards")
    parser.add_argument(
        "--scenes", type=int, default=16384, help="how many scenes (default %(default)s)"
    )
    parser.add_argument("--resolution", type=int, default=128, help="square side in pixels")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shard-size", type=int, default=1024)
    parser.add_argument("--workers", type=int, default=1, help="processes")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = PrerenderConfig(
        scenes=options.scenes,
        resolution=options.resolution,
        seed=options.seed,
        shard_size=options.shard_size,
    )
    prerender(options.out, config, options.workers)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

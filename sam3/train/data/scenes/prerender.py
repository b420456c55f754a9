"""Draws scenes ahead of training into memory-mapped shards, resized as inference resizes pictures.

    python -m sam3.train.data.scenes.prerender --out FOLDER --scenes 16384 --resolution 128

A shard is a folder with ``images.npy`` [S, R, R, 3] uint8, ``labels.npy`` [S, R, R] uint8
(0 background, k = object k-1), ``attributes.npy`` [S, M, 3] int8 (-1 = no object), ``boxes.npy``
[S, M, 4] float32 normalised cxcywh and ``levels.npy`` [S] int8. Shards appear whole or not at all,
depend only on the seed and their number, and finished ones are kept when the command runs again.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ....errors import InputError
from .scene import MAX_OBJECTS, Scene, draw_scene, random_size, scene_rng
from .shards import draw_missing, prepare_folder

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


def draw_scenes(number: int, config: PrerenderConfig) -> dict[str, np.ndarray]:
    """The arrays of shard ``number``."""
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
    return {
        "images": images,
        "labels": labels,
        "attributes": attributes,
        "boxes": boxes,
        "levels": levels,
    }


def prerender(folder: Path, config: PrerenderConfig, workers: int = 1) -> Path:
    """Draw all shards that are missing with ``workers`` processes; returns the folder.

    Raises InputError if the folder was made with other settings.
    """
    prepare_folder(folder, MANIFEST, config)
    draw_missing(folder, config.shards, config, draw_scenes, workers)
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

"""Draws clips ahead of training into memory-mapped shards, resized as inference resizes frames.

    python -m sam3.train.data.scenes.prerender_clips --out FOLDER --clips 4096 --resolution 192

A shard holds ``images.npy`` [S, T, R, R, 3] uint8, ``labels.npy`` [S, T, R, R] uint8 (0 background,
k = object k-1) and ``visible.npy`` [S, T, M] bool: which object is to be seen at native size.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ....errors import InputError
from .clips import MAX_CLIP_OBJECTS, Clip, clip_rng, draw_clip
from .prerender import square_scene
from .scene import Scene, random_size
from .shards import draw_missing, prepare_folder

MANIFEST = "clips.json"
COMMAND = "sam3.train.data.scenes.prerender_clips"
DRAWING_VERSION = 1  # raise when the same seed draws other pixels


@dataclass(frozen=True, kw_only=True)
class ClipPrerenderConfig:
    """What a folder of clips holds. ``simple_share`` is the share of level 0 clips."""

    clips: int
    resolution: int = 192
    frames: int = 8
    seed: int = 1
    held_out: bool = False
    shard_size: int = 128
    simple_share: float = 0.15
    max_side: int = 400
    drawing_version: int = DRAWING_VERSION

    def __post_init__(self) -> None:
        if self.clips < 1 or self.shard_size < 1 or self.resolution < 32 or self.frames < 2:
            raise InputError(
                f"clips {self.clips} and shard_size {self.shard_size} must be positive, resolution "
                f"{self.resolution} at least 32, frames {self.frames} at least 2"
            )

    @property
    def shards(self) -> int:
        """Number of shards; the last one may be shorter."""
        return -(-self.clips // self.shard_size)


def square_clip(clip: Clip, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """All frames as the model sees them: images [T, R, R, 3] and labels [T, R, R], uint8."""
    frames = [
        square_scene(Scene(image, labels, clip.attributes, boxes), resolution)
        for image, labels, boxes in zip(clip.images, clip.labels, clip.boxes, strict=True)
    ]
    return np.stack([frame[0] for frame in frames]), np.stack([frame[1] for frame in frames])


def draw_clips(number: int, config: ClipPrerenderConfig) -> dict[str, np.ndarray]:
    """The arrays of shard ``number``."""
    first = number * config.shard_size
    count = min(config.shard_size, config.clips - first)
    shape = (count, config.frames, config.resolution, config.resolution)
    images = np.zeros((*shape, 3), dtype=np.uint8)
    labels = np.zeros(shape, dtype=np.uint8)
    visible = np.zeros((count, config.frames, MAX_CLIP_OBJECTS), dtype=bool)
    for row in range(count):
        rng = clip_rng(config.seed, first + row, config.held_out)
        level = int(rng.random() >= config.simple_share)
        # at least two where they fit: a lone object has nothing to be mistaken for
        objects = int(rng.integers(2, MAX_CLIP_OBJECTS + 1)) if level else None
        size = random_size(rng, high=config.max_side)
        clip = draw_clip(rng, size, config.frames, level, objects)
        images[row], labels[row] = square_clip(clip, config.resolution)
        visible[row, :, : len(clip.ids)] = clip.visible
    return {"images": images, "labels": labels, "visible": visible}


def prerender_clips(folder: Path, config: ClipPrerenderConfig, workers: int = 1) -> Path:
    """Draw all shards that are missing with ``workers`` processes; returns the folder.

    Raises InputError if the folder was made with other settings.
    """
    prepare_folder(folder, MANIFEST, config)
    draw_missing(folder, config.shards, config, draw_clips, workers)
    return folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Draw training clips into a folder.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the shards")
    parser.add_argument("--clips", type=int, default=4096, help="how many (default %(default)s)")
    parser.add_argument("--resolution", type=int, default=192, help="square side in pixels")
    parser.add_argument("--frames", type=int, default=8, help="per clip (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="processes")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = ClipPrerenderConfig(
        clips=options.clips,
        resolution=options.resolution,
        frames=options.frames,
        seed=options.seed,
    )
    prerender_clips(options.out, config, options.workers)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

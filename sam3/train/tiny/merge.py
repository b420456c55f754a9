"""Put exported checkpoints together: average two trainings, or join image model and tracker.

    python -m sam3.train.tiny.merge average FIRST SECOND --share 0.75 --out AVERAGE
    python -m sam3.train.tiny.merge join IMAGE TRACKER --out BOTH

Averaging needs trainings that began with the same weights ("model soups", Wortsman et al. 2022,
https://arxiv.org/abs/2203.05482). Joining needs a tracker that was trained on the same trunk.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ...checkpoint import RawCheckpoint, read_checkpoint, save_checkpoint
from ...errors import CheckpointMismatchError, InputError, Sam3Error

logger = logging.getLogger(__name__)

DETECTOR = "detector."
SECOND_NECK = DETECTOR + "backbone.vision_backbone.sam2_convs."  # trained with the tracker
TRUNK = DETECTOR + "backbone.vision_backbone.trunk."


def average(first: Path, second: Path, share: float, out: Path) -> Path:
    """Write ``(1 - share) * first + share * second``; names, shapes and sizes must be the same.

    Dtypes, integers and configuration are those of ``first``. Raises InputError for a share
    outside 0..1, CheckpointMismatchError where the files differ in kind.
    """
    if not 0 <= share <= 1:
        raise InputError(f"share {share} is not within 0..1: 0 = the first file, 1 = the second")
    with read_checkpoint(first) as one, read_checkpoint(second) as other:
        _same_names(one, other, set(one), set(other))
        state = {name: _mean(one, other, name, share) for name in one}
        return save_checkpoint(state, out, config=one.config, tracker_config=one.tracker_config)


def join(image: Path, tracker: Path, out: Path) -> Path:
    """Write the image model of ``image`` with second neck and tracker of ``tracker``.

    Either file may hold a whole video model; dtypes are those of ``tracker``. Raises
    CheckpointMismatchError if the image models differ in names, shapes or configuration, or in
    the trunk, whose features the tracker reads.
    """
    with read_checkpoint(image) as new, read_checkpoint(tracker) as video:
        if video.tracker_config is None:
            raise CheckpointMismatchError(
                f"{tracker} holds no tracker. Give a file that sam3.train.tiny.tracking exported."
            )
        if new.config != video.config:
            raise CheckpointMismatchError(
                f"{image} and {tracker} hold image models of different configurations; train the "
                "tracker on top of this image model."
            )
        state = {name: video.tensor(name) for name in video}
        replaced = {n for n in video if n.startswith(DETECTOR) and not n.startswith(SECOND_NECK)}
        stored = {name: DETECTOR + name for name in new}
        if new.tracker_config is not None:  # a video model's names, of which a part is taken
            stored = {name: name for name in new if name in replaced}
        _same_names(new, video, set(stored.values()), replaced)
        for name, target in stored.items():
            state[target] = _fitting(new, name, state[target]).to(state[target].dtype)
            if target.startswith(TRUNK) and not torch.equal(state[target], video.tensor(target)):
                raise CheckpointMismatchError(
                    f"the trunk of {image} is not the one that the tracker of {tracker} was "
                    f"trained on ({name} differs); train the tracker on top of this image model."
                )
        return save_checkpoint(state, out, config=video.config, tracker_config=video.tracker_config)


def _same_names(one: RawCheckpoint, other: RawCheckpoint, have: set[str], want: set[str]) -> None:
    if have != want:
        only = sorted(have ^ want)
        raise CheckpointMismatchError(
            f"{one.path} and {other.path} do not hold the same model: {len(only)} tensors are in "
            f"one of them only, the first is {only[0]}"
        )


def _fitting(checkpoint: RawCheckpoint, name: str, like: Tensor) -> Tensor:
    tensor = checkpoint.tensor(name)
    if tensor.shape != like.shape:
        raise CheckpointMismatchError(
            f"{checkpoint.path}: {name} has the shape {tuple(tensor.shape)}, the other file's has "
            f"{tuple(like.shape)}"
        )
    return tensor


def _mean(one: RawCheckpoint, other: RawCheckpoint, name: str, share: float) -> Tensor:
    first = one.tensor(name)
    second = _fitting(other, name, first)
    if not first.is_floating_point():
        return first
    return torch.lerp(first.float(), second.float(), share).to(first.dtype)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sam3.train.tiny.merge", description="Put exported checkpoints together."
    )
    ways = parser.add_subparsers(dest="way", required=True)
    mean = ways.add_parser("average", help="average the weights of two trainings")
    mean.add_argument("first", type=Path)
    mean.add_argument("second", type=Path)
    mean.add_argument("--share", type=float, default=0.5, help="of SECOND (default %(default)s)")
    both = ways.add_parser("join", help="one file with image model and tracker")
    both.add_argument("image", type=Path, help="its image model is taken")
    both.add_argument("tracker", type=Path, help="its second neck and tracker are taken")
    for way in (mean, both):
        way.add_argument("--out", type=Path, required=True, help="the .safetensors to write")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line entry; exit code 0 = written, 2 = error."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        if options.way == "average":
            path = average(options.first, options.second, options.share, options.out)
        else:
            path = join(options.image, options.tracker, options.out)
    except Sam3Error as error:
        logger.error("%s", error)
        return 2
    logger.info("wrote %s, %.2f MB", path, path.stat().st_size / 1e6)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Labelled objects cut out of the user's pictures, to be pasted into drawn scenes.

Fifty pictures show few neighbours and backgrounds; pasted into scenes that are drawn without end,
their objects meet all of them (Ghiasi et al. 2021, Simple Copy-Paste).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image

from ...perflib.rle import decode_rle
from ..data.coco_masks import segmentation_to_rle
from ..data.pictures import read_picture
from ..data.scenes.vocabulary import parse
from .data import PictureSet

_MOST = 256  # cut-outs kept
_SMALLEST = 8  # pixels a side in the scene
_LARGEST = 0.6  # of the scene's side
_MIN_VISIBLE = 0.6  # of every object that a pasted one covers
_TRIES = 6


@dataclass(frozen=True)
class Cutout:
    """An object: rgba [h, w, 4] uint8 at the size it has in a square scene, and its phrase."""

    rgba: np.ndarray
    phrase: str


def cut_out(pictures: PictureSet, side: int, seed: int = 0) -> list[Cutout]:
    """Objects with masks whose phrases the drawn scenes do not know, at most 256, by chance.

    Args:
        pictures: checked ones.
        side: of the scenes; pictures are stretched to squares of it, as for the model.
    """
    names = {row["id"]: row["name"] for row in pictures.content["categories"]}
    new = {key for key, name in names.items() if parse(name) is None}
    rows = [
        row
        for row in pictures.content["annotations"]
        if row["category_id"] in new and row.get("segmentation") and not row.get("iscrowd")
    ]
    order = np.random.default_rng((seed, 29)).permutation(len(rows))[:_MOST]
    chosen = sorted((rows[k] for k in order), key=lambda row: row["image_id"])
    images = {row["id"]: row for row in pictures.content["images"]}
    found: list[Cutout] = []
    pixels: tuple[Any, np.ndarray] | None = None
    for row in chosen:
        image = images[row["image_id"]]
        if pixels is None or pixels[0] != image["id"]:
            pixels = image["id"], np.asarray(read_picture(pictures.folder, image["file_name"]))
        rgba = _cut(pixels[1], row["segmentation"], side)
        if rgba is not None:
            found.append(Cutout(rgba, names[row["category_id"]]))
    return found


def _cut(pixels: np.ndarray, segmentation: Any, side: int) -> np.ndarray | None:
    """The object stretched with its picture to a square scene; None if it is too small or large."""
    height, width = pixels.shape[:2]
    rle = segmentation_to_rle(segmentation, height, width)
    mask = np.zeros((height, width), dtype=bool) if rle is None else decode_rle(rle)
    if not mask.any():
        return None
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    rgba = np.dstack([pixels[window], mask[window].astype(np.uint8) * 255])
    size = round(rgba.shape[1] * side / width), round(rgba.shape[0] * side / height)
    if min(size) < _SMALLEST or max(size) > _LARGEST * side:
        return None
    return np.asarray(PIL.Image.fromarray(rgba).resize(size, PIL.Image.Resampling.BILINEAR))


class Paster:
    """Pastes cut-outs, turned by up to ``degrees`` and zoomed by up to ``zoom``, into scenes."""

    def __init__(self, cutouts: Sequence[Cutout], degrees: float = 0.0, zoom: float = 1.0) -> None:
        self.cutouts, self.degrees, self.zoom = list(cutouts), degrees, zoom

    def paste(
        self, image: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, str, int]:
        """Paste one to three objects of one phrase.

        Args:
            image: [S, S, 3] uint8; labels: [S, S] uint8, 0 = background, k = object k - 1.

        Returns:
            copies of both, the phrase, and how many objects found a place; theirs are the labels
            that follow the highest one there was.
        """
        image, labels = image.copy(), labels.copy()
        phrase = self.cutouts[rng.integers(len(self.cutouts))].phrase
        same = [cutout for cutout in self.cutouts if cutout.phrase == phrase]
        placed = 0
        first = int(labels.max()) + 1
        for _ in range(int(rng.integers(1, 4))):
            rgba = self._changed(same[rng.integers(len(same))].rgba, rng)
            placed += _place(image, labels, rgba, first + placed, rng)
        return image, labels, phrase, placed

    def _changed(self, rgba: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        picture = PIL.Image.fromarray(rgba[:, ::-1] if rng.random() < 0.5 else rgba)
        scale = self.zoom ** rng.uniform(-1, 1)
        size = tuple(max(_SMALLEST, round(v * scale)) for v in picture.size)
        picture = picture.resize(size, PIL.Image.Resampling.BILINEAR)
        angle = rng.uniform(-self.degrees, self.degrees)
        return np.asarray(picture.rotate(angle, PIL.Image.Resampling.BILINEAR, expand=True))


def _place(
    image: np.ndarray, labels: np.ndarray, rgba: np.ndarray, label: int, rng: np.random.Generator
) -> bool:
    """Try some places; True if the object is in the picture."""
    inside = rgba[..., 3] >= 128
    height, width = inside.shape
    room = image.shape[0] - height, image.shape[1] - width
    if min(room) < 0 or not inside.any():
        return False
    for _ in range(_TRIES):
        top, left = (int(rng.integers(r + 1)) for r in room)
        window = slice(top, top + height), slice(left, left + width)
        if _leaves_enough(labels, window, inside):
            alpha = rgba[..., 3:].astype(np.float32) / 255
            mixed = image[window] + alpha * (rgba[..., :3].astype(np.float32) - image[window])
            image[window] = np.rint(mixed).astype(np.uint8)
            labels[window][inside] = label
            return True
    return False


def _leaves_enough(labels: np.ndarray, window: tuple[slice, slice], inside: np.ndarray) -> bool:
    """Whether no object would lose too much of what is to be seen of it."""
    before = np.bincount(labels.ravel(), minlength=256)[1:]
    lost = np.bincount(labels[window][inside], minlength=256)[1:]
    return bool((before - lost >= _MIN_VISIBLE * before).all())

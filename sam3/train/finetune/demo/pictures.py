"""Labelled pictures of a new colour among known ones, as an export: folders and COCO files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ....eval.files import write_json
from ....perflib.rle import encode_rle
from ...data.scenes.background import draw_background
from ...data.scenes.composer import Composer
from ...data.scenes.draw import Rings
from ...data.scenes.paint import Patch
from ...data.scenes.scene import label_boxes, random_size
from ...data.scenes.vocabulary import COLOUR_NAMES
from ..splits import ROBOFLOW
from .colours import BASE, NewColour, colour_of, recoloured

_STREAMS = {"train": 1, "valid": 2}  # of random numbers, by split
_NEW = len(COLOUR_NAMES)  # index of the new colour among the attributes
_SIDES = 160, 360
_CATEGORY = 1


class _Composer(Composer):
    """Paints half of the objects in the new colour, and none too small to be labelled."""

    def __init__(
        self, canvas: np.ndarray, rng: np.random.Generator, colour: NewColour | None
    ) -> None:
        super().__init__(canvas, rng, level=1, plain=bool(rng.random() < 0.4))
        self.new = colour

    def choose_attributes(self) -> tuple[int, int, int]:
        colour, shape, pattern = super().choose_attributes()
        if colour == _NEW:  # taken over from an object of the scene
            return colour, shape, pattern
        return _NEW if self.new and self.rng.random() < 0.4 else colour, shape, pattern

    def choose_radius(self, shrink: float) -> float:
        return float(self.rng.uniform(0.1, 0.24)) * shrink * min(self.labels.shape)

    def draw(
        self, colour: int, pattern: int, rings: Rings, size: tuple[int, int], radius: float
    ) -> Patch:
        if colour != _NEW or self.new is None:
            return super().draw(colour, pattern, rings, size, radius)
        return recoloured(super().draw(BASE, pattern, rings, size, radius), self.new, self.rng)


def draw_picture(
    colour: NewColour | None, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A scene with things in the new colour among others; with None without any.

    Returns the picture [h, w, 3] uint8, and of the things in the new colour (at least one unless
    ``colour`` is None) the masks [n, h, w] bool and boxes [n, 4] (xyxy in pixels).
    """
    while True:
        size = random_size(rng, *_SIDES, max_aspect=1.8)
        composer = _Composer(draw_background(size, rng), rng, colour)
        for _ in range(int(rng.integers(2, 6))):
            composer.add_object()
        found = [k for k, (painted, _, _) in enumerate(composer.attributes) if painted == _NEW]
        if found or colour is None:
            break
    boxes = label_boxes(composer.labels, len(composer.attributes))[found]
    masks = composer.labels[None] == np.array(found, dtype=int)[:, None, None] + 1
    return np.clip(np.rint(composer.canvas), 0, 255).astype(np.uint8), masks, boxes


def write_export(
    folder: Path, name: str, *, train: int, valid: int, seed: int = 0, absent: float = 0.2
) -> Path:
    """Draw a training and a validation split in the layout of a Roboflow export.

    Args:
        folder: gets ``train`` and ``valid``, each with its pictures and annotation file.
        name: of the colour, which is also the only category.
        train, valid: numbers of pictures.
        seed: of the drawings; the splits never share any.
        absent: share of pictures without the colour.

    Returns:
        The folder. Raises InputError for an unknown colour.
    """
    colour = colour_of(name)
    for split, count in (("train", train), ("valid", valid)):
        _write_split(folder / split, name, colour, count, (seed, _STREAMS[split]), absent)
    return folder


def _write_split(
    folder: Path, name: str, colour: NewColour, count: int, key: tuple[int, int], absent: float
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(count):
        hidden = int((number + 1) * absent) > int(number * absent)
        rng = np.random.default_rng((*key, number))
        picture, masks, boxes = draw_picture(None if hidden else colour, rng)
        file = f"{number:04d}.png"
        Image.fromarray(picture).save(folder / file)
        height, width = picture.shape[:2]
        images.append({"id": number, "file_name": file, "width": width, "height": height})
        annotations += [
            {
                "id": len(annotations) + row,
                "image_id": number,
                "category_id": _CATEGORY,
                "bbox": _xywh(box),
                "area": int(mask.sum()),
                "iscrowd": 0,
                "segmentation": encode_rle(mask),
            }
            for row, (mask, box) in enumerate(zip(masks, boxes, strict=True))
        ]
    categories = [{"id": _CATEGORY, "name": name, "supercategory": "colours"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    write_json(folder / ROBOFLOW, content)


def _xywh(box: np.ndarray) -> list[float]:
    left, top, right, bottom = (float(v) for v in box)
    return [left, top, right - left, bottom - top]

"""Labelled pictures of a new shape among known ones, as a COCO export: folder and JSON file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ....eval.files import write_json
from ....perflib.rle import encode_rle
from ...data.scenes.background import draw_background
from ...data.scenes.composer import Composer
from ...data.scenes.draw import Rings
from ...data.scenes.scene import label_boxes, random_size
from ...data.scenes.vocabulary import SHAPE_NAMES
from .shapes import Outline, outline_of

ANNOTATIONS = "_annotations.coco.json"
SPLITS = {"train": 1, "valid": 2}  # folder -> stream of random numbers
_NEW = len(SHAPE_NAMES)  # index of the new shape among the attributes
_SIDES = 160, 360
_CATEGORY = 1


class _Composer(Composer):
    """Draws the new shape, too, and nothing that is too small to be labelled."""

    def __init__(self, canvas: np.ndarray, rng: np.random.Generator, shape: Outline | None) -> None:
        super().__init__(canvas, rng, level=1, plain=bool(rng.random() < 0.4))
        self.shape = shape

    def choose_attributes(self) -> tuple[int, int, int]:
        colour, shape, pattern = super().choose_attributes()
        if self.shape is None:
            return colour, shape % _NEW, pattern
        return colour, _NEW if self.rng.random() < 0.5 else shape, pattern

    def choose_radius(self, shrink: float) -> float:
        return float(self.rng.uniform(0.1, 0.24)) * shrink * min(self.labels.shape)

    def outline(self, shape: int) -> Rings:
        if shape == _NEW and self.shape is not None:
            return [self.shape(self.rng)]
        return super().outline(shape)


def draw_picture(
    shape: Outline | None, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A scene with the new shape among known ones, or with ``shape=None`` without it.

    Returns the picture [h, w, 3] uint8, masks [n, h, w] bool and boxes [n, 4] (xyxy in pixels) of
    the new shape's instances, n >= 1 unless ``shape`` is None.
    """
    while True:
        size = random_size(rng, *_SIDES, max_aspect=1.8)
        composer = _Composer(draw_background(size, rng), rng, shape)
        for _ in range(int(rng.integers(2, 6))):
            composer.add_object()
        found = [k for k, (_, kind, _) in enumerate(composer.attributes) if kind == _NEW]
        if found or shape is None:
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
        name: of the shape, which is also the only category.
        train, valid: numbers of pictures.
        seed: of the drawings; the splits never share any.
        absent: share of pictures that do not show the shape.

    Returns:
        The folder. Raises InputError for an unknown shape.
    """
    shape = outline_of(name)
    for split, count in (("train", train), ("valid", valid)):
        _write_split(folder / split, name, shape, count, (seed, SPLITS[split]), absent)
    return folder


def _write_split(
    folder: Path, name: str, shape: Outline, count: int, key: tuple[int, int], absent: float
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(count):
        hidden = int((number + 1) * absent) > int(number * absent)
        rng = np.random.default_rng((*key, number))
        picture, masks, boxes = draw_picture(None if hidden else shape, rng)
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
    categories = [{"id": _CATEGORY, "name": name, "supercategory": "shapes"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    write_json(folder / ANNOTATIONS, json.loads(json.dumps(content)))


def _xywh(box: np.ndarray) -> list[float]:
    left, top, right, bottom = (float(v) for v in box)
    return [left, top, right - left, bottom - top]

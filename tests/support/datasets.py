"""Small data sets on disk and datapoints by hand, for tests of data and transforms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch

from sam3.train.data.datapoint import (
    Datapoint,
    FindQueryLoaded,
    Image,
    InferenceMetadata,
    Object,
)


def write_picture(path: Path, width: int, height: int, seed: int = 0) -> np.ndarray:
    """A PNG of noise; its pixels uint8 [H, W, 3]."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path)
    return pixels


def make_object(box: list[float], **fields: Any) -> Object:
    """An object with corners ``box`` in pixels, area 1 unless given."""
    return Object(**{"bbox": torch.tensor(box, dtype=torch.float32), "area": 1.0, **fields})


def make_query(
    image_id: int, objects: list[int], text: str = "cat", **fields: Any
) -> FindQueryLoaded:
    """An exhaustive query with metadata."""
    origin = InferenceMetadata(1, 1, 1, (30, 40), objects[0] if objects else -1, -1)
    defaults: dict[str, Any] = {"is_exhaustive": True, "inference_metadata": origin}
    return FindQueryLoaded(text, image_id, objects, **{**defaults, **fields})


def make_datapoint(
    queries: list[FindQueryLoaded], objects: list[list[Object]], size: tuple[int, int] = (30, 40)
) -> Datapoint:
    """One picture of noise (h, w) per list of objects."""
    rng = np.random.default_rng(7)
    images = []
    for items in objects:
        pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        images.append(Image(PIL.Image.fromarray(pixels), items, size))
    return Datapoint(queries, images)


def coco_annotations(pictures: int = 3, categories: int = 2) -> dict[str, Any]:
    """A COCO file of ``p0.png`` ... (40 x 30 pixels); picture k shows category k % categories."""
    return {
        "images": [
            {"id": n + 1, "file_name": f"p{n}.png", "width": 40, "height": 30}
            for n in range(pictures)
        ],
        "categories": [{"id": c + 1, "name": f"thing {c}"} for c in range(categories)],
        "annotations": [
            {
                "id": 100 + n,
                "image_id": n + 1,
                "category_id": n % categories + 1,
                "bbox": [4, 3, 20, 15],
                "iscrowd": 0,
                "segmentation": {"size": [30, 40], "counts": [130, 10, 1060]},
            }
            for n in range(pictures)
        ],
    }


def write_pictures(folder: Path, pictures: int = 3) -> Path:
    """The pictures of ``coco_annotations``."""
    for n in range(pictures):
        write_picture(folder / f"p{n}.png", 40, 30, seed=n)
    return folder


def change_row(section: str, number: int, **values: Any) -> Callable[[dict[str, Any]], None]:
    """A change that sets some values of a row; None deletes one."""

    def change(data: dict[str, Any]) -> None:
        for key, value in values.items():
            if value is None:
                del data[section][number][key]
            else:
                data[section][number][key] = value

    return change

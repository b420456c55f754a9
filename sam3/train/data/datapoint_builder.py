"""From a loader's rows to a datapoint: pictures read, boxes in pixels, indices per picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...model.box_ops import box_xywh_to_xyxy
from .datapoint import Datapoint, FindQueryLoaded, Image, InferenceMetadata, Object
from .pictures import read_picture

Row = dict[str, Any]


@dataclass(frozen=True)
class Rows:
    """What a loader gives for one datapoint; pictures of a video also carry ``frame_index``."""

    images: list[Row]
    queries: list[Row]
    annotations: list[Row]


@dataclass(frozen=True)
class DatapointBuilder:
    """Makes datapoints of rows.

    folder: of the pictures; load_segmentation: give objects their masks (as RLE); training: hide
    picture ids from the evaluation (-1); base_names: ignore folders in file names.
    """

    folder: Path
    load_segmentation: bool
    training: bool
    base_names: bool = False

    def build(self, rows: Rows) -> Datapoint:
        """One datapoint. Raises DataError if a picture cannot be read."""
        images = [self._image(row) for row in rows.images]
        places = []
        for row in rows.annotations:
            image, number = images[row["image_id"]], row["image_id"]
            places.append(len(image.objects))
            frame = rows.images[number].get("frame_index", -1)
            image.objects.append(self._object(row, image.size, frame))
        queries = [self._query(row, rows, images, places) for row in rows.queries]
        return Datapoint(queries, images)

    def _image(self, row: Row) -> Image:
        name = row["file_name"]
        picture = read_picture(self.folder, Path(name).name if self.base_names else name)
        return Image(picture, [], (picture.height, picture.width))

    def _object(self, row: Row, size: tuple[int, int], frame: int) -> Object:
        return Object(
            bbox=_pixels(row["bbox"], size),
            area=float(row["area"]),
            object_id=row["object_id"],
            frame_index=frame,
            segment=row["segmentation"] if self.load_segmentation else None,
            is_crowd=bool(row["is_crowd"]),
        )

    def _query(
        self, row: Row, rows: Rows, images: list[Image], places: list[int]
    ) -> FindQueryLoaded:
        """places: index of every annotation among its picture's objects."""
        number, targets = row["image_id"], row["object_ids_output"]
        source, size = rows.images[number], images[number].size
        box, label = row["input_box"], row["input_box_label"]
        first = rows.annotations[targets[0]]["object_id"] if targets else -1
        return FindQueryLoaded(
            query_text=row["query_text"],
            image_id=number,
            object_ids_output=[places[i] for i in targets],
            is_exhaustive=row["is_exhaustive"],
            query_processing_order=row["query_processing_order"],
            input_bbox=None if box is None else _pixels(box, size).view(-1, 4),
            input_bbox_label=None if label is None else torch.as_tensor(label).bool().view(-1),
            input_points=_points(row["input_points"], size),
            inference_metadata=InferenceMetadata(
                coco_image_id=-1 if self.training else source["coco_img_id"],
                original_image_id=-1 if self.training else source["original_img_id"],
                original_category_id=row["original_cat_id"],
                original_size=size,
                object_id=first,
                frame_index=source.get("frame_index", -1),
            ),
        )


def _pixels(box: Any, size: tuple[int, int]) -> Tensor:
    """[..., 4] xywh as fractions -> float32 xyxy in pixels, inside a picture of size (h, w)."""
    height, width = size
    limit = torch.tensor([width, height] * 2, dtype=torch.float32)
    corners = box_xywh_to_xyxy(torch.as_tensor(box, dtype=torch.float32)) * limit
    return torch.minimum(corners.clamp(min=0), limit)


def _points(points: Any, size: tuple[int, int]) -> Tensor | None:
    """[1, n, 3] or [n, 3] (x, y, label), x and y as fractions -> [1, n, 3] in pixels."""
    if points is None:
        return None
    height, width = size
    scale = torch.tensor([width, height, 1], dtype=torch.float32)
    return torch.as_tensor(points, dtype=torch.float32).view(1, -1, 3) * scale

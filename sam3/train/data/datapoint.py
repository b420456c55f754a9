"""One training sample: pictures, their objects, and the queries about them.

Boxes start as absolute corners (xyxy, pixels); normalisation turns them into centre and size as
fractions of the picture (cxcywh). Transforms change a datapoint in place and return it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import PIL.Image
from torch import Tensor


@dataclass
class InferenceMetadata:
    """Where a query comes from, for evaluation.

    Ids of the picture (of the annotation file and of the original set), of the category and of
    the first target object; original_size (h, w) in pixels; frame_index within the video, -1 for
    pictures.
    """

    coco_image_id: int
    original_image_id: int
    original_category_id: int
    original_size: tuple[int, int]
    object_id: int
    frame_index: int
    is_conditioning_only: bool | None = False


@dataclass
class FindQuery:
    """Asks for everything in picture ``image_id`` that ``query_text`` names.

    image_id:               index into the datapoint's pictures
    object_ids_output:      indices into that picture's objects: the right answer
    is_exhaustive:          whether the answer names every such object
    query_processing_order: stage (frame of a video) in which the query is asked
    input_bbox:             [n, 4] float32 boxes that prompt, in the picture's box format, or None
    input_bbox_label:       [n] bool, True = positive, or None
    input_points:           [1, n, 3] float32 (x, y, label), or None
    semantic_target:        [H, W] mask of everything that matches, or None
    is_pixel_exhaustive:    whether that mask is complete
    """

    query_text: str
    image_id: int
    object_ids_output: list[int]
    is_exhaustive: bool
    query_processing_order: int = 0
    input_bbox: Tensor | None = None
    input_bbox_label: Tensor | None = None
    input_points: Tensor | None = None
    semantic_target: Tensor | None = None
    is_pixel_exhaustive: bool | None = None

    @property
    def has_geometry(self) -> bool:
        """Whether boxes or points prompt it already."""
        return self.input_bbox is not None or self.input_points is not None


@dataclass
class FindQueryLoaded(FindQuery):
    """A query read from a data set, with its origin."""

    inference_metadata: InferenceMetadata | None = None


@dataclass
class Object:
    """One ground-truth object of a picture.

    bbox: float32 [4], or [1, 4] once resized; area: as the loader gives it, times the factors of
    later resizes; segment: RLE dict, uint8 [H, W] mask or None; source: any note on its origin.
    """

    bbox: Tensor
    area: float
    object_id: int = -1
    frame_index: int = -1
    segment: Tensor | dict[str, Any] | None = None
    is_crowd: bool = False
    source: str | None = None


@dataclass
class Image:
    """A picture: PIL, or float [3, H, W] after ``ToTensorAPI``; size is (h, w) in pixels."""

    data: PIL.Image.Image | Tensor
    objects: list[Object]
    size: tuple[int, int]
    blurring_mask: dict[str, Any] | None = None


@dataclass
class Datapoint:
    """Queries about some pictures; ``raw_images`` are the pictures before any transform."""

    find_queries: list[FindQueryLoaded]
    images: list[Image]
    raw_images: list[PIL.Image.Image] | None = field(default=None)

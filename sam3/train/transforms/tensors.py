"""From PIL pictures with boxes in pixels to normalised tensors with boxes as fractions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import PIL.Image
import torch
import torchvision.transforms.v2.functional as TF
from torch import Tensor

from ...errors import InputError
from ...model.box_ops import box_xyxy_to_cxcywh
from ..data.datapoint import Datapoint


class ToTensorAPI:
    """PIL pictures -> float32 [3, H, W] in [0, 1]; tensors stay as they are."""

    def __call__(self, datapoint: Datapoint, **_kwargs: Any) -> Datapoint:
        """Convert in place."""
        for image in datapoint.images:
            if isinstance(image.data, PIL.Image.Image):
                pixels = TF.pil_to_tensor(image.data)
                image.data = TF.to_dtype(pixels, torch.float32, scale=True)
        return datapoint


class NormalizeAPI:
    """(pixel - mean) / std per channel; boxes from xyxy pixels to cxcywh fractions, points too.

    It runs once, after ``ToTensorAPI`` and everything that moves pixels.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean, self.std = list(mean), list(std)

    def __call__(self, datapoint: Datapoint, **_kwargs: Any) -> Datapoint:
        """Normalise in place. Raises InputError for pictures that are no tensors yet."""
        for image in datapoint.images:
            if not isinstance(image.data, Tensor):
                raise InputError("pictures must be tensors to normalise; put ToTensorAPI before")
            image.data = TF.normalize(image.data, self.mean, self.std)
            for item in image.objects:
                item.bbox = _relative(item.bbox, image.size)
        for query in datapoint.find_queries:
            size = datapoint.images[query.image_id].size
            if query.input_bbox is not None:
                query.input_bbox = _relative(query.input_bbox, size)
            if query.input_points is not None:
                points = query.input_points.clone()
                points[..., :2] /= torch.tensor(size[::-1], dtype=points.dtype)
                query.input_points = points
        return datapoint


def _relative(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """[..., 4] xyxy in pixels -> cxcywh as fractions of a picture of size (h, w)."""
    height, width = size
    return box_xyxy_to_cxcywh(boxes) / torch.tensor([width, height] * 2, dtype=boxes.dtype)

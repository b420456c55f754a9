"""Masks of finished frames, kept as compressed bits, and the public outputs made from them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...perflib.masks_ops import masks_to_boxes
from ..tracker.packed_masks import PackedMasks
from .records import FrameMasks, FrameStats

Outputs = dict[str, Any]


class CachedFrame(Mapping[int, Tensor]):
    """Masks of one frame: object id -> bool [1, H, W], unpacked at each reading."""

    def __init__(self, planes: dict[int, PackedMasks]) -> None:
        self._planes = planes

    @classmethod
    def pack(cls, frame: FrameMasks) -> CachedFrame:
        """Compress the masks of a frame."""
        packed = PackedMasks.pack(frame.masks)
        return cls({int(i): packed.select([row]) for row, i in enumerate(frame.obj_ids)})

    def __getitem__(self, obj_id: int) -> Tensor:
        return self._planes[obj_id].masks()[0]

    def __contains__(self, obj_id: object) -> bool:
        return obj_id in self._planes

    def __iter__(self) -> Iterator[int]:
        return iter(self._planes)

    def __len__(self) -> int:
        return len(self._planes)

    def without(self, obj_ids: Collection[int]) -> CachedFrame:
        """The same frame without some objects."""
        return CachedFrame({i: p for i, p in self._planes.items() if i not in obj_ids})

    def with_masks(self, frame: FrameMasks) -> CachedFrame:
        """The same frame with some objects' masks replaced or added."""
        return CachedFrame({**self._planes, **CachedFrame.pack(frame)._planes})

    def unpack(self, hidden: Collection[int] = ()) -> tuple[list[int], np.ndarray]:
        """Ids in ascending order and their masks bool [n, H, W], without the hidden ones."""
        ids = sorted(i for i in self._planes if i not in hidden)
        masks = [self._planes[i].masks()[0, 0].numpy() for i in ids]
        return ids, np.stack(masks) if masks else np.zeros((0, 0, 0), bool)


def postprocess(
    frame: CachedFrame,
    hidden: Collection[int],
    scores: Mapping[int, float],
    tracker_scores: Mapping[int, float],
    size: tuple[int, int],
    stats: FrameStats | None,
) -> Outputs:
    """The public outputs of a frame.

    hidden: ids left out; scores: id -> score at creation; tracker_scores: id -> the tracker's score
    on this frame, which decides who gets contested pixels (nobody at 0 or below).

    Returns ``out_obj_ids`` int64 [n] ascending, ``out_probs`` float32 [n], ``out_boxes_xywh``
    float32 [n, 4] as parts of width and height, ``out_binary_masks`` bool [n, H, W],
    ``frame_stats`` (dict or None). Boxes are those of the masks before contested pixels are given
    away; a mask that loses all its pixels that way stays in the list. Empty masks are dropped.
    """
    ids, masks = frame.unpack(hidden)
    kept = [row for row in range(len(ids)) if masks[row].any()]
    ids = [ids[row] for row in kept]
    masks = masks[kept] if ids else np.zeros((0, *size), bool)
    boxes = normalised_boxes(masks)
    if len(ids) > 1:
        masks = give_contested_pixels(masks, [tracker_scores.get(i, 0.0) for i in ids])
    return {
        "out_obj_ids": np.array(ids, np.int64),
        "out_probs": np.array([scores[i] for i in ids], np.float32),
        "out_boxes_xywh": boxes,
        "out_binary_masks": masks,
        "frame_stats": None if stats is None else stats.as_dict(),
    }


def normalised_boxes(masks: np.ndarray) -> np.ndarray:
    """Boxes of non-empty masks bool [n, H, W]: float32 [n, 4] xywh over width and height.

    Corners are pixel indices, so a mask one pixel wide has a box of width 0.
    """
    height, width = masks.shape[1:]
    if not len(masks):
        return np.zeros((0, 4), np.float32)
    xyxy = masks_to_boxes(torch.from_numpy(masks))
    xywh = torch.cat([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], dim=1)
    return (xywh / xywh.new_tensor([width, height, width, height])).numpy()


def give_contested_pixels(masks: np.ndarray, scores: list[float]) -> np.ndarray:
    """Each pixel to the object with the highest score, the first of equals: bool [n, H, W].

    Objects with a score of 0 or less get none.
    """
    out = np.zeros_like(masks)
    free = np.ones(masks.shape[1:], bool)
    for row in sorted(range(len(scores)), key=lambda r: -scores[r]):
        if scores[row] <= 0:
            break
        out[row] = masks[row] & free
        free &= ~masks[row]
    return out

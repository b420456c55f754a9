"""Held-out clips and what is asked about them: clicks, boxes and masks on frame 0, and phrases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..data.scenes.clips import Clip, clip_rng, draw_clip
from ..data.scenes.composer import MIN_AREA
from ..data.scenes.phrases import Query
from ..data.scenes.scene import random_size

MIN_SIDE, MAX_SIDE, MAX_ASPECT = 96, 480, 3.0
_CLEAR_SHARE = 0.5


@dataclass(frozen=True)
class ObjectPrompt:
    """How one object is pointed out on frame 0, as parts of width and height.

    obj_id: of the clip; point (x, y): the middle of the most inner pixel; box xyxy: tight;
    mask [h, w] bool.
    """

    obj_id: int
    point: tuple[float, float]
    box: tuple[float, float, float, float]
    mask: np.ndarray


def plan_clip(seed: int, index: int, frames: int, max_side: int = MAX_SIDE) -> Clip:
    """Held-out clip ``index`` at a native size of 96 to ``max_side`` pixels, sides up to 1 : 3."""
    rng = clip_rng(seed, index, held_out=True)
    return draw_clip(rng, random_size(rng, MIN_SIDE, max_side, MAX_ASPECT), frames)


def pictures(clip: Clip) -> list[Image.Image]:
    """The frames as a user has them."""
    return [Image.fromarray(image) for image in clip.images]


def object_prompts(clip: Clip) -> list[ObjectPrompt]:
    """One prompt for every object that is to be seen on frame 0."""
    height, width = clip.labels.shape[1:]
    prompts = []
    for obj_id in np.flatnonzero(clip.visible[0]):
        mask = clip.labels[0] == obj_id + 1
        x, y = inner_point(mask)
        x0, y0, x1, y1 = (float(v) for v in clip.boxes[0, obj_id])
        prompts.append(
            ObjectPrompt(
                int(obj_id),
                ((x + 0.5) / width, (y + 0.5) / height),
                (x0 / width, y0 / height, x1 / width, y1 / height),
                mask,
            )
        )
    return prompts


def inner_point(mask: np.ndarray) -> tuple[int, int]:
    """(x, y) of the pixel farthest from everything outside a mask [h, w], the border included.

    Raises ValueError for an empty mask.
    """
    from scipy.ndimage import distance_transform_edt

    if not mask.any():
        raise ValueError("an empty mask has no inner point")
    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(x), int(y)


def distinct_phrases(clip: Clip) -> Iterator[Query]:
    """The clip's phrases, each wording once."""
    seen: set[str] = set()
    for query in clip.phrases:
        if query.text not in seen:
            seen.add(query.text)
            yield query


def clearly_visible(clip: Clip) -> np.ndarray:
    """Which object shows at least half of itself and 40 pixels, in which frame: [T, n] bool.

    The whole of an object is the most that it ever shows, scaled to the frame.
    """
    count = len(clip.ids)
    areas = np.stack([np.bincount(f.ravel(), minlength=count + 1)[1:] for f in clip.labels])
    scales = np.array([[m.pose(t)[1] for m in clip.motions] for t in range(len(areas))])
    shown = areas / scales**2
    whole = np.maximum(shown.max(axis=0), 1e-9)
    return (shown >= _CLEAR_SHARE * whole) & (areas >= MIN_AREA)

"""Prompts as they come from outside, checked before anything changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import InputError, SessionError
from ..prompts.container import Prompt
from ..tracker.inputs import BOX_LABELS
from .session import VISUAL


@dataclass(frozen=True)
class DetectionPrompt:
    """A phrase (None: what the box shows) and a box [4] normalised xywh with its label."""

    text: str | None
    box: Tensor | None
    label: bool = True

    def geometric(self, device: torch.device) -> Prompt | None:
        """The box as the detector takes it: cxcywh [1, 1, 4], label [1, 1]."""
        if self.box is None:
            return None
        box = self.box.to(device)
        centre = box[:2] + box[2:] / 2
        return Prompt(
            box_embeddings=torch.cat([centre, box[2:]]).view(1, 1, 4),
            box_mask=torch.zeros(1, 1, dtype=torch.bool, device=device),
            box_labels=torch.tensor([[int(self.label)]], device=device),
        )


@dataclass(frozen=True)
class ClickPrompt:
    """Points [P, 2] and labels [P] (1 on the object, 0 not on it) for one object.

    A box stands before them as its two corners, with labels 2 (top left) and 3 (bottom right).
    """

    obj_id: int
    points: Tensor
    labels: Tensor
    rel_coordinates: bool = True


def detection_prompt(text: Any, boxes_xywh: Any, box_labels: Any) -> DetectionPrompt:
    """Check a phrase and a box. InputError for what is malformed or missing.

    SessionError (a RuntimeError) for several boxes: a video takes one box as a visual prompt.
    """
    if text is not None and not isinstance(text, str):
        raise InputError(f"the phrase must be a string, got {type(text).__name__}")
    if text is not None and not text.strip():
        raise InputError("the phrase is empty; say what to find, or leave it out and give a box")
    if text is None and boxes_xywh is None:
        raise InputError("an empty prompt: give a phrase, a box, or points with an object id")
    if boxes_xywh is None:
        if box_labels is not None:
            raise InputError("box labels were given without boxes")
        return DetectionPrompt(None if text == VISUAL else text, None)
    boxes = _numbers(boxes_xywh, 4, "boxes_xywh")
    if box_labels is None:
        raise InputError("boxes need labels: 1 for what to find, 0 for what not to find")
    labels = np.asarray(_host(box_labels)).reshape(-1)
    if len(labels) != len(boxes) or not np.isin(labels, (0, 1)).all():
        raise InputError(f"{len(boxes)} boxes need as many labels of 0 or 1, got {labels.tolist()}")
    if len(boxes) != 1:
        raise SessionError(
            f"a video takes exactly one box as a visual prompt, got {len(boxes)}; use points with"
            " an object id for further objects"
        )
    x, y, width, height = boxes[0].tolist()
    inside = min(x, y) >= 0 and x + width <= 1 + 1e-6 and y + height <= 1 + 1e-6
    if not inside or width <= 0 or height <= 0:
        raise InputError(
            f"the box (x, y, width, height) = {boxes[0].tolist()} must have an area and lie within"
            " 0 to 1: divide pixels by the size of the video"
        )
    return DetectionPrompt(None if text == VISUAL else text, boxes[0], bool(labels[0]))


def click_prompt(
    points: Any, point_labels: Any, obj_id: Any, rel_coordinates: bool, image_size: int
) -> ClickPrompt:
    """Check clicks; InputError for what is malformed, missing, or outside the picture.

    A box comes as its corners, before the points: labels 2 (top left) and 3 (bottom right).
    Coordinates are parts of width and height, or with ``rel_coordinates=False`` pixels of the
    model's square input (``image_size``).
    """
    if obj_id is None:
        raise InputError("points need an obj_id: that of the object to refine, or a new number")
    if isinstance(obj_id, bool) or not hasattr(obj_id, "__index__") or int(obj_id) < 0:
        raise InputError(f"obj_id must be an integer of 0 or more, got {obj_id!r}")
    if points is None or point_labels is None:
        raise InputError("points and point_labels must be given together")
    coordinates = _numbers(points, 2, "points")
    labels = np.asarray(_host(point_labels)).reshape(-1)
    has_box = tuple(labels[:2].tolist()) == BOX_LABELS
    clicks = labels[2:] if has_box else labels
    if len(labels) != len(coordinates) or not np.isin(clicks, (0, 1)).all():
        raise InputError(
            f"{len(coordinates)} points need as many labels of 0 (not the object) or 1 (on it),"
            f" after 2 and 3 for the corners of a box; got {labels.tolist()}"
        )
    if has_box and not bool((coordinates[0] < coordinates[1]).all()):
        raise InputError(
            f"the box {coordinates[:2].flatten().tolist()} is empty: its first corner must be left"
            " of and above the second"
        )
    limit = 1.0 if rel_coordinates else float(image_size)
    if not len(coordinates) or coordinates.min() < 0 or coordinates.max() > limit:
        raise InputError(
            f"points {coordinates.tolist()} must be at least one and lie within 0 to {limit:g}"
        )
    return ClickPrompt(
        int(obj_id), coordinates, torch.as_tensor(labels, dtype=torch.int32), rel_coordinates
    )


def _numbers(values: Any, width: int, what: str) -> Tensor:
    """Finite float32 [n, width]; a single row may come flat."""
    try:
        array = np.asarray(_host(values), np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} must be numbers of shape [n, {width}]: {error}") from error
    if array.ndim == 1 and array.size == width:
        array = array[None]
    if array.ndim != 2 or array.shape[1] != width or not len(array):
        raise InputError(f"{what} must have shape [n, {width}], got {list(array.shape)}")
    if not np.isfinite(array).all():
        raise InputError(f"{what} must be finite, got {array.tolist()}")
    return torch.from_numpy(array)


def _host(values: Any) -> Any:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else values

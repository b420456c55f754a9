"""Typed records that pass between the steps of one frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor


class ItemAccess:
    """Item access to the fields (and properties) of a dataclass: ``r["name"]`` is ``r.name``."""

    def __getitem__(self, key: str) -> Any:
        try:
            return getattr(self, key)
        except (AttributeError, TypeError):
            raise KeyError(key) from None

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in self:
            raise KeyError(key)
        setattr(self, key, value)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and any(key == name for name in self)

    def __iter__(self) -> Iterator[str]:
        return (f.name for f in fields(self))  # type: ignore[arg-type]

    def keys(self) -> list[str]:
        """Names of the fields."""
        return list(self)

    def get(self, key: str, default: Any = None) -> Any:
        """The field ``key``, or ``default`` where there is none."""
        try:
            return self[key]
        except KeyError:
            return default


@dataclass
class Detections:
    """What the detector found on one frame, in query order.

    boxes: [D, 4] float32, normalised xyxy; masks: [D, h, w] logits; scores: [D] float32 in 0..1.
    """

    boxes: Tensor
    masks: Tensor
    scores: Tensor

    def __len__(self) -> int:
        return len(self.scores)


@dataclass
class TrackedMasks:
    """What the tracker says about all objects on one frame, over all processes.

    obj_ids: [N] int64; low_res: [N, h, w] mask logits; scores: [N] object score logits.
    """

    obj_ids: np.ndarray
    low_res: Tensor
    scores: Tensor

    def __len__(self) -> int:
        return len(self.obj_ids)

    def rows(self, obj_ids: list[int]) -> list[int]:
        """Row of each of ``obj_ids``; KeyError for one that is not here."""
        index = {int(obj_id): row for row, obj_id in enumerate(self.obj_ids)}
        return [index[int(obj_id)] for obj_id in obj_ids]

    def sorted(self) -> TrackedMasks:
        """The same by ascending id."""
        order = np.argsort(self.obj_ids, kind="stable")
        rows = torch.from_numpy(order).to(self.low_res.device)
        return TrackedMasks(self.obj_ids[order], self.low_res[rows], self.scores[rows])

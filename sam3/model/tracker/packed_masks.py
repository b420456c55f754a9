"""Masks kept as compressed bits: a few hundred bytes each instead of 330 KB of logits."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

LOGIT = 10.0
"""Unpacked pixels are +LOGIT inside and -LOGIT outside."""


@dataclass(frozen=True, slots=True)
class PackedMasks:
    """Foreground of N masks of one size, one compressed bit plane per object.

    planes: zlib streams of the packed bits, row by row. height, width: size of every mask.
    scores: object score logits that belong to the masks, if they were given.
    """

    planes: tuple[bytes, ...]
    height: int
    width: int
    scores: tuple[float, ...] = ()

    @classmethod
    def pack(cls, masks: Tensor, scores: Tensor | None = None) -> PackedMasks:
        """Keep ``masks > 0`` of ``[N, 1, h, w]`` numbers or bools, and ``[N, 1]`` scores."""
        kept = () if scores is None else tuple(scores.flatten().tolist())
        inside = (masks > 0).flatten(1).cpu().numpy()
        planes = tuple(zlib.compress(row.tobytes(), 1) for row in np.packbits(inside, axis=1))
        return cls(planes, int(masks.shape[-2]), int(masks.shape[-1]), kept)

    def __len__(self) -> int:
        return len(self.planes)

    def select(self, rows: Sequence[int]) -> PackedMasks:
        """The masks of these rows, in this order."""
        scores = tuple(self.scores[r] for r in rows) if self.scores else ()
        return PackedMasks(tuple(self.planes[r] for r in rows), self.height, self.width, scores)

    def masks(self, device: torch.device | str | None = None) -> Tensor:
        """bool ``[N, 1, h, w]`` on ``device`` (the CPU by default)."""
        size = self.height * self.width
        bits = [np.frombuffer(zlib.decompress(p), np.uint8) for p in self.planes]
        if not bits:
            return torch.zeros(0, 1, self.height, self.width, dtype=torch.bool, device=device)
        inside = np.unpackbits(np.stack(bits), axis=1, count=size).astype(bool)
        return torch.from_numpy(inside).view(-1, 1, self.height, self.width).to(device)

    def logits(self, device: torch.device | str | None = None) -> Tensor:
        """float32 ``[N, 1, h, w]`` of +-``LOGIT`` on ``device``."""
        return self.masks(device).float() * (2 * LOGIT) - LOGIT

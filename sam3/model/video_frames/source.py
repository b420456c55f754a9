"""What every source of frames offers."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class FrameSource(Protocol):
    """A video of at least one frame; reading is safe from several threads.

    ``name`` is what error messages call it; ``height`` and ``width`` are the video's own size in
    pixels; ``dtype`` is that of the frames.
    """

    name: str
    height: int
    width: int
    dtype: torch.dtype

    def __len__(self) -> int: ...

    def read(self, index: int, device: torch.device) -> Tensor:
        """Frame ``index`` (0 .. len - 1), prepared: [3, S, S] of ``dtype`` on ``device``.

        Raises VideoError if it cannot be decoded.
        """
        ...

    def close(self) -> None:
        """Release files; reading again opens them again."""
        ...

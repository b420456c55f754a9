"""Mask logits to binary masks of another size, with bounded memory."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK_BYTES = 64 * 2**20


def resize_to_bool(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Foreground at another size: logits [N, h, w] -> bilinear, > 0 -> bool [N, H, W].

    At most ``CHUNK_BYTES`` of full-size floats exist at a time.
    """
    out = torch.empty((len(logits), *size), dtype=torch.bool, device=logits.device)
    step = max(1, CHUNK_BYTES // max(1, 4 * size[0] * size[1]))
    for start in range(0, len(logits), step):
        part = logits[start : start + step, None].float()
        full = F.interpolate(part, size=size, mode="bilinear", align_corners=False)
        out[start : start + step] = full[:, 0] > 0
    return out

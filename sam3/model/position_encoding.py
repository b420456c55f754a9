"""Sine position encodings: of a feature grid, of points and boxes, and of decoder queries.

Everything is computed in float32 without gradients and depends on sizes and coordinates only.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError

# Resolution divided by the grid sizes of the four feature levels (patch 14 times 1/4 .. 2).
PRECOMPUTE_STRIDES = (3.5, 7.0, 14.0, 28.0)


def _interleaved_sincos(values: Tensor, channels: int, temperature: float) -> Tensor:
    """[...] float32 angles -> [..., channels]: sin at even, cos at odd channels."""
    k = torch.arange(channels, dtype=torch.float32, device=values.device)
    angles = values[..., None] / temperature ** (2 * (k // 2) / channels)
    return torch.stack((angles[..., 0::2].sin(), angles[..., 1::2].cos()), dim=-1).flatten(-2)


class PositionEmbeddingSine(nn.Module):
    """Sine position encoding with ``num_pos_feats`` channels, half of them per axis.

    Args:
        num_pos_feats: channels P of the result; a multiple of 4.
        temperature: base of the wavelengths.
        normalize: scale grid indices to (0, ``scale``]; else the raw indices 1..H, 1..W are used.
        scale: 2*pi by default; only allowed together with ``normalize``.
        precompute_resolution: image side in pixels whose four level sizes are computed at once
            (never on the meta device: there they are computed when first asked for).

    No parameters and no buffers: tables are cached per (H, W, device) in ``cache``, which
    ``.to()``, ``.half()`` and the like empty.
    """

    def __init__(
        self,
        num_pos_feats: int,
        temperature: float = 10000,
        normalize: bool = True,
        scale: float | None = None,
        precompute_resolution: int | None = None,
    ) -> None:
        super().__init__()
        if num_pos_feats <= 0 or num_pos_feats % 4:
            raise InputError(f"num_pos_feats must be a positive multiple of 4, got {num_pos_feats}")
        if scale is not None and not normalize:
            raise InputError("scale is only used with normalize=True; leave one of them out")
        self.num_pos_feats = num_pos_feats // 2  # per axis
        self.temperature = temperature
        self.normalize = normalize
        self.scale = 2 * math.pi if scale is None else scale
        self.cache: dict[tuple[int, int, torch.device], Tensor] = {}
        device = torch.get_default_device()
        if precompute_resolution is not None and device.type != "meta":
            for stride in PRECOMPUTE_STRIDES:
                side = int(precompute_resolution // stride)
                self._grid(side, side, torch.empty(0).device)

    def _apply(self, fn: Any, recurse: bool = True) -> PositionEmbeddingSine:
        # Tables of the old device would only take memory.
        self.cache.clear()
        return super()._apply(fn, recurse)  # type: ignore[return-value]

    def _sincos(self, values: Tensor) -> Tensor:
        return _interleaved_sincos(values, self.num_pos_feats, self.temperature)

    def _grid(self, height: int, width: int, device: torch.device) -> Tensor:
        """Return the table [P, H, W] float32 of a grid, y channels first."""
        key = (height, width, device)
        if key not in self.cache:
            # A table first made in inference mode must stay usable in training.
            with torch.inference_mode(False), torch.no_grad():
                y = torch.arange(1, height + 1, dtype=torch.float32, device=device)
                x = torch.arange(1, width + 1, dtype=torch.float32, device=device)
                if self.normalize:
                    y, x = (v / (v[-1:] + 1e-6) * self.scale for v in (y, x))
                pos_y = self._sincos(y).T[:, :, None].expand(-1, -1, width)
                pos_x = self._sincos(x).T[:, None, :].expand(-1, height, -1)
                self.cache[key] = torch.cat((pos_y, pos_x))
        return self.cache[key]

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] features -> [B, P, H, W] float32; only sizes and device of x matter.

        The result is a view of the cached table: read only.
        """
        if x.ndim != 4:
            raise InputError(f"expected features [B, C, H, W], got shape {tuple(x.shape)}")
        table = self._grid(x.shape[-2], x.shape[-1], x.device)
        return table.expand(x.shape[0], -1, -1, -1)

    def _encode_xy(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Flat coordinates [n] in 0..1 -> (pos_x, pos_y), each [n, P/2] float32."""
        if x.ndim != 1 or x.shape != y.shape:
            raise InputError(
                f"x and y must be 1-D and of one length, got {tuple(x.shape)} and {tuple(y.shape)}"
            )
        return self._sincos(x.float() * self.scale), self._sincos(y.float() * self.scale)

    @torch.no_grad()
    def encode_boxes(self, x: Tensor, y: Tensor, w: Tensor, h: Tensor) -> Tensor:
        """Boxes as four flat tensors [n] (normalised cx, cy, w, h) -> [n, P + 2] float32.

        Channels: y code, x code, then h and w as they are.
        """
        pos_x, pos_y = self._encode_xy(x, y)
        if w.shape != x.shape or h.shape != x.shape:
            raise InputError(
                f"x, y, w and h must have one length, got {[tuple(t.shape) for t in (x, y, w, h)]}"
            )
        return torch.cat((pos_y, pos_x, h[:, None].float(), w[:, None].float()), dim=1)

    encode = encode_boxes

    @torch.no_grad()
    def encode_points(self, x: Tensor, y: Tensor, labels: Tensor) -> Tensor:
        """Points x, y (0..1) and labels, each [B, N] -> [B, N, P + 1]: y code, x code, label."""
        if x.ndim != 2 or x.shape != y.shape or labels.shape != x.shape:
            raise InputError(
                "x, y and labels must share one shape [B, N], got "
                f"{[tuple(t.shape) for t in (x, y, labels)]}"
            )
        pos_x, pos_y = self._encode_xy(x.flatten(), y.flatten())
        pos_x, pos_y = (pos.unflatten(0, x.shape) for pos in (pos_x, pos_y))
        return torch.cat((pos_y, pos_x, labels[:, :, None].float()), dim=2)


def gen_sineembed_for_position(pos_tensor: Tensor, num_feats: int = 256) -> Tensor:
    """Sine code of decoder reference points or boxes, differentiable.

    Args:
        pos_tensor: [..., 2] (x, y) or [..., 4] (cx, cy, w, h), normalised to 0..1.
        num_feats: channels of two axes together; each axis gets half of them.

    Returns: float32 [..., num_feats] or [..., 2 * num_feats] with the axes in the order
    y, x (, w, h). Raises InputError for another last dimension or an odd split.
    """
    if num_feats <= 0 or num_feats % 4:
        raise InputError(f"num_feats must be a positive multiple of 4, got {num_feats}")
    if pos_tensor.shape[-1] not in (2, 4):
        raise InputError(f"the last dimension must be 2 or 4, got shape {tuple(pos_tensor.shape)}")
    order = [1, 0, 2, 3][: pos_tensor.shape[-1]]
    angles = pos_tensor.float()[..., order] * (2 * math.pi)
    return _interleaved_sincos(angles, num_feats // 2, 10000).flatten(-2)

"""Memory encoder: a mask and the image features it lies on become one memory feature map.

SAM 2 (https://arxiv.org/abs/2408.00714), section "memory encoder"; the fuser's blocks are those of
ConvNeXt (https://arxiv.org/abs/2201.03545).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from ..layers.basic import get_clones
from ..layers.norm import LayerNorm2d


class SimpleMaskDownSampler(nn.Module):
    """Strided convolutions that shrink a mask ``total_stride`` times, to ``embed_dim`` channels.

    Each stage divides the sides by ``stride`` and multiplies the channels by its square.
    ``interpol_size`` (h, w): size that masks are brought to first.
    """

    def __init__(
        self,
        embed_dim: int = 256,
        kernel_size: int = 4,
        stride: int = 4,
        padding: int = 0,
        total_stride: int = 16,
        activation: Callable[[], nn.Module] = nn.GELU,
        interpol_size: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        stages = round(math.log(total_stride, stride))
        if stages < 1 or stride**stages != total_stride:
            raise ValueError(f"total_stride {total_stride} is no power of the stride {stride}")
        layers: list[nn.Module] = []
        channels = 1
        for _ in range(stages):
            wider = channels * stride**2
            layers += [
                nn.Conv2d(channels, wider, kernel_size, stride=stride, padding=padding),
                LayerNorm2d(wider),
                activation(),
            ]
            channels = wider
        layers.append(nn.Conv2d(channels, embed_dim, kernel_size=1))
        self.encoder = nn.Sequential(*layers)
        self.interpol_size = None if interpol_size is None else list(interpol_size)

    def forward(self, x: Tensor) -> Tensor:
        """Masks [B, 1, H, W] -> [B, embed_dim, H' / total_stride, W' / total_stride]."""
        if self.interpol_size is not None and list(x.shape[-2:]) != self.interpol_size:
            x = F.interpolate(
                x.float(),
                size=self.interpol_size,
                mode="bilinear",
                align_corners=False,
                antialias=True,
            )
        return self.encoder(x.to(self.encoder[0].weight.dtype))


class CXBlock(nn.Module):
    """ConvNeXt block: depthwise convolution, norm, two linear layers, layer scale, residual.

    ``use_dwconv`` False makes the first convolution an ordinary one. A layer scale that is not
    positive is left out. ``drop_path`` is the chance that a sample skips the block in training.
    """

    def __init__(
        self,
        dim: int,
        kernel_size: int = 7,
        padding: int = 3,
        drop_path: float = 0.0,
        layer_scale_init_value: float = 1e-6,
        use_dwconv: bool = True,
    ) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(
            dim, dim, kernel_size, padding=padding, groups=dim if use_dwconv else 1
        )
        self.norm = LayerNorm2d(dim, eps=1e-6)
        self.pwconv1 = nn.Linear(dim, 4 * dim)
        self.act = nn.GELU()
        self.pwconv2 = nn.Linear(4 * dim, dim)
        self.gamma = (
            nn.Parameter(layer_scale_init_value * torch.ones(dim))
            if layer_scale_init_value > 0
            else None
        )
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        """[B, dim, H, W] -> the same shape."""
        h = self.norm(self.dwconv(x)).permute(0, 2, 3, 1)
        h = self.pwconv2(self.act(self.pwconv1(h)))
        if self.gamma is not None:
            h = h * self.gamma
        h = h.permute(0, 3, 1, 2)
        if self.training and self.drop_path > 0:
            kept = torch.rand(len(x), 1, 1, 1, device=x.device) >= self.drop_path
            h = h * kept.to(h.dtype) / (1 - self.drop_path)
        return x + h


class SimpleFuser(nn.Module):
    """``num_layers`` copies of ``layer``, after a 1x1 convolution if ``input_projection``."""

    def __init__(
        self,
        layer: nn.Module,
        num_layers: int,
        dim: int | None = None,
        input_projection: bool = False,
    ) -> None:
        super().__init__()
        if input_projection and dim is None:
            raise ValueError("input_projection needs dim")
        self.proj = nn.Conv2d(dim, dim, kernel_size=1) if input_projection and dim else None
        self.layers = get_clones(layer, num_layers)

    def forward(self, x: Tensor) -> Tensor:
        """[B, dim, H, W] -> the same shape."""
        if self.proj is not None:
            x = self.proj(x)
        for layer in self.layers:
            x = layer(x)
        return x


class SimpleMaskEncoder(nn.Module):
    """Adds the shrunk mask to the projected image features, fuses them, reduces to ``out_dim``."""

    def __init__(
        self,
        out_dim: int,
        mask_downsampler: nn.Module,
        fuser: nn.Module,
        position_encoding: nn.Module,
        in_dim: int = 256,
    ) -> None:
        super().__init__()
        self.mask_downsampler = mask_downsampler
        self.pix_feat_proj = nn.Conv2d(in_dim, in_dim, kernel_size=1)
        self.fuser = fuser
        self.position_encoding = position_encoding
        self.out_proj = nn.Conv2d(in_dim, out_dim, kernel_size=1)

    def forward(
        self, pix_feat: Tensor, masks: Tensor, skip_mask_sigmoid: bool = False
    ) -> dict[str, Any]:
        """Encode one memory per mask.

        pix_feat: [B, in_dim, h, w], or [1, in_dim, h, w] for masks on one picture.
        masks: logits [B, 1, H, W]; with ``skip_mask_sigmoid`` taken as they are.
        Returns ``vision_features`` [B, out_dim, h, w] and ``vision_pos_enc``, a list of one
        [B, out_dim, h, w] tensor of the same dtype. InputError if the sizes do not fit.
        """
        if not skip_mask_sigmoid:
            masks = masks.sigmoid()
        shrunk = self.mask_downsampler(masks)
        features = self.pix_feat_proj(pix_feat.to(masks.device))
        if shrunk.shape[-2:] != features.shape[-2:]:
            raise InputError(
                f"masks shrink to {tuple(shrunk.shape[-2:])}, but the features are "
                f"{tuple(features.shape[-2:])}; set interpol_size of the mask downsampler"
            )
        x = self.out_proj(self.fuser(features + shrunk))
        return {"vision_features": x, "vision_pos_enc": [self.position_encoding(x).to(x.dtype)]}

"""Simple feature pyramid over the last ViT map (Li et al. 2022, ViTDet, section 3)."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn


def _level(dim: int, d_model: int, scale: float) -> nn.Sequential:
    """The layers of one pyramid level: resample by ``scale``, project to d_model, smooth."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if scale == 4.0:
        layers["dconv_2x2_0"] = nn.ConvTranspose2d(dim, dim // 2, 2, stride=2)
        layers["gelu"] = nn.GELU()
        layers["dconv_2x2_1"] = nn.ConvTranspose2d(dim // 2, dim // 4, 2, stride=2)
        dim //= 4
    elif scale == 2.0:
        layers["dconv_2x2"] = nn.ConvTranspose2d(dim, dim // 2, 2, stride=2)
        dim //= 2
    elif scale == 0.5:
        layers["maxpool_2x2"] = nn.MaxPool2d(2, stride=2)
    elif scale != 1.0:
        raise NotImplementedError(f"neck scale {scale} is not supported; allowed are 4, 2, 1, 0.5")
    layers["conv_1x1"] = nn.Conv2d(dim, d_model, 1)
    layers["conv_3x3"] = nn.Conv2d(d_model, d_model, 3, padding=1)
    return nn.Sequential(layers)


class Sam3DualViTDetNeck(nn.Module):
    """Trunk plus one pyramid for the detector and, on request, a second one for the tracker.

    ``convs`` holds one Sequential per scale factor; ``sam2_convs`` (``add_sam2_neck``) is the same
    set with its own weights.
    """

    def __init__(
        self,
        trunk: nn.Module,
        position_encoding: nn.Module,
        d_model: int = 256,
        scale_factors: Sequence[float] = (4.0, 2.0, 1.0, 0.5),
        add_sam2_neck: bool = False,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.position_encoding = position_encoding
        dim = trunk.channel_list[-1]
        self.scale_factors = tuple(scale_factors)
        self.d_model = d_model
        self.convs = nn.ModuleList(_level(dim, d_model, s) for s in self.scale_factors)
        self.sam2_convs = copy.deepcopy(self.convs) if add_sam2_neck else None

    def forward(
        self, samples: Tensor
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor] | None, list[Tensor] | None]:
        """Pictures [B, 3, S, S] -> (features, positions, second features, second positions).

        Each list has one [B, d_model, S / (patch / scale), ...] tensor per scale factor; the second
        pair is None without the second neck. Position encodings take the features' dtype.
        """
        x = self.trunk(samples)[-1]
        features, positions = self._pyramid(self.convs, x)
        if self.sam2_convs is None:
            return features, positions, None, None
        return features, positions, *self._pyramid(self.sam2_convs, x)

    def _pyramid(self, convs: nn.ModuleList, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        features = [conv(x) for conv in convs]
        return features, [self.position_encoding(f).to(f.dtype) for f in features]

"""Pictures, coordinates and masks on their way into and out of the interactive predictor."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
import torchvision.transforms.v2.functional as TF
from torch import Tensor
from torchvision.transforms import InterpolationMode

from ...errors import UnsupportedInputError
from ...perflib.connected_components import connected_components
from ..frames import MEAN, STD, to_uint8_rgb

CLEANUP_MARGIN = 10.0  # logits by which a filled hole or removed speck passes the threshold


def read_picture(image: Any) -> Tensor:
    """A PIL picture or RGB array [H, W, 3] (uint8, or float in 0..1) as uint8 [3, H, W].

    Raises UnsupportedInputError for another type, InputError for an unusable picture.
    """
    if not isinstance(image, (np.ndarray, PIL.Image.Image)):
        raise UnsupportedInputError(
            f"cannot read a picture from {type(image).__name__}; allowed are a PIL image or"
            " an RGB array [H, W, 3]"
        )
    return to_uint8_rgb(image)


class InteractiveTransforms:
    """Between pictures and their pixels, and the model's square of ``resolution`` pixels.

    ``mask_threshold``: a mask is where logits are greater. ``max_hole_area`` and
    ``max_sprinkle_area``: holes and specks up to so many low-resolution pixels are removed; 0
    leaves them.
    """

    def __init__(
        self,
        resolution: int,
        mask_threshold: float,
        max_hole_area: float = 0.0,
        max_sprinkle_area: float = 0.0,
    ) -> None:
        self.resolution = resolution
        self.mask_threshold = mask_threshold
        self.max_hole_area = max_hole_area
        self.max_sprinkle_area = max_sprinkle_area

    def __call__(self, image: Any, device: torch.device | str | None = None) -> Tensor:
        """A picture (see :func:`read_picture`) as float32 [3, resolution, resolution] in [-1, 1].

        Scaled to [0, 1] first, then resized with antialiasing, without keeping the aspect.
        """
        return self.normalize_pixels(read_picture(image).to(device))

    def normalize_pixels(self, pixels: Tensor) -> Tensor:
        """uint8 [3, H, W] -> float32 [3, resolution, resolution]; see the class's call."""
        pixels = TF.to_dtype(pixels, torch.float32, scale=True)
        size = [self.resolution, self.resolution]
        pixels = TF.resize(pixels, size, InterpolationMode.BILINEAR, antialias=True)
        return TF.normalize(pixels, [MEAN] * 3, [STD] * 3)

    def transform_coords(
        self, coords: Tensor, normalize: bool = True, orig_hw: tuple[int, int] | None = None
    ) -> Tensor:
        """(x, y) [..., 2] in pixels of the model's square.

        ``normalize``: given in pixels of a picture of ``orig_hw`` (height, width); otherwise as
        fractions of the picture.
        """
        if normalize:
            if orig_hw is None:
                raise ValueError("pixel coordinates need orig_hw, the picture's (height, width)")
            coords = coords / coords.new_tensor([orig_hw[1], orig_hw[0]])
        return coords * self.resolution

    def transform_boxes(
        self, boxes: Tensor, normalize: bool = True, orig_hw: tuple[int, int] | None = None
    ) -> Tensor:
        """Boxes (x0, y0, x1, y1) [..., 4] as corner points [N, 2, 2]; see transform_coords."""
        return self.transform_coords(boxes.reshape(-1, 2, 2), normalize, orig_hw)

    def postprocess_masks(self, masks: Tensor, orig_hw: tuple[int, int]) -> Tensor:
        """Low-resolution logits [N, M, h, w], cleaned up, at picture size: [N, M, H, W] float32."""
        masks = self.clean_masks(masks.float())
        return F.interpolate(masks, orig_hw, mode="bilinear", align_corners=False)

    def clean_masks(self, masks: Tensor) -> Tensor:
        """Fill small holes and remove small specks of logits [N, M, h, w]; ``masks`` is kept.

        Both are found on the masks as they come. A clean-up that cannot run (no backend for
        connected components) gives a warning and the masks as they are.
        """
        try:
            return self._without_specks(masks, self._without_holes(masks))
        except Exception as error:  # whatever goes wrong, the masks themselves are good
            warnings.warn(
                f"small holes and specks were left in the masks, their clean-up failed: {error}",
                stacklevel=2,
            )
            return masks

    def _without_holes(self, masks: Tensor) -> Tensor:
        if self.max_hole_area <= 0:
            return masks
        holes = small_components(masks <= self.mask_threshold, self.max_hole_area)
        return torch.where(holes, self.mask_threshold + CLEANUP_MARGIN, masks)

    def _without_specks(self, masks: Tensor, filled: Tensor) -> Tensor:
        if self.max_sprinkle_area <= 0:
            return filled
        specks = small_components(masks > self.mask_threshold, self.max_sprinkle_area)
        return torch.where(specks, self.mask_threshold - CLEANUP_MARGIN, filled)


def small_components(region: Tensor, max_area: float) -> Tensor:
    """Pixels of bool ``region`` [..., h, w] in 8-connected parts of at most ``max_area`` pixels."""
    flat = region.flatten(0, -3)
    labels, areas = connected_components(flat)
    return ((labels > 0) & (areas <= max_area)).reshape(region.shape)

"""Put a mask to use: cut-out with alpha, or the kept pixels on a colour.

Kept pixels are the input's own floats, never an 8-bit copy: where the mask is 1 they are bit-equal.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InputError
from .colors import RGBA


def compose_alpha(image: Tensor, mask: Tensor) -> Tensor:
    """RGBA picture with the mask as alpha; the colours are untouched.

    Args:
        image: ``[..., H, W, 3]`` float.
        mask: ``[..., H, W]`` float, 1 keeps.

    Returns:
        ``[..., H, W, 4]``, dtype and device of the image.

    Raises:
        InputError: shapes that do not belong together.
    """
    _check_pair(image, mask)
    return torch.cat([image, mask.to(image).unsqueeze(-1)], dim=-1)


def compose_color(image: Tensor, mask: Tensor, color: RGBA) -> Tensor:
    """RGB picture on a coloured background.

    Args:
        image: ``[..., H, W, 3]`` float, finite.
        mask: ``[..., H, W]`` float, 1 keeps, 0 is background.
        color: background as RGBA in 0..1. With an alpha below 1 the picture shines through the
            colour by the rest.

    Returns:
        ``[..., H, W, 3]``: the image where the mask is 1, the colour (of full alpha) where it is 0.

    Raises:
        InputError: shapes that do not belong together.
    """
    _check_pair(image, mask)
    red, green, blue, alpha = color
    paint = torch.tensor([red, green, blue], dtype=image.dtype, device=image.device)
    cover = ((1.0 - mask.to(image)) * alpha).unsqueeze(-1)
    return image * (1.0 - cover) + paint * cover


def _check_pair(image: Tensor, mask: Tensor) -> None:
    if image.ndim < 3 or image.shape[-1] != 3 or image.shape[:-1] != mask.shape:
        raise InputError(
            f"Image and mask do not fit: expected [..., H, W, 3] and [..., H, W], "
            f"got {tuple(image.shape)} and {tuple(mask.shape)}."
        )

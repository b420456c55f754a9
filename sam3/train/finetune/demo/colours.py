"""Colours that the drawn scenes lack: hues between those that have a name there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ....errors import InputError
from ...data.scenes.paint import Patch
from ...data.scenes.vocabulary import COLOUR_NAMES

BASE = COLOUR_NAMES.index("purple")
"""The colour that is painted first: a strong one, whose patterns and shading then change hue."""

_GREYISH = 0.15  # saturation of white and black patterns and outlines, which stay


@dataclass(frozen=True)
class NewColour:
    """Hue in degrees, saturation and value in [0, 1], each from a range."""

    hue: tuple[float, float]
    saturation: tuple[float, float]
    value: tuple[float, float]


COLOURS: dict[str, NewColour] = {
    "lime": NewColour((72, 84), (0.65, 1), (0.7, 1)),
    "magenta": NewColour((307, 322), (0.7, 1), (0.75, 1)),
    "teal": NewColour((163, 174), (0.6, 1), (0.35, 0.6)),
}


def colour_of(name: str) -> NewColour:
    """The new colour of a name; InputError lists those there are."""
    if name not in COLOURS:
        raise InputError(f"there is no new colour {name!r}; there are {', '.join(COLOURS)}")
    return COLOURS[name]


def recoloured(patch: Patch, colour: NewColour, rng: np.random.Generator) -> Patch:
    """A patch painted in ``BASE``, in the new colour; shading and patterns stay."""
    from skimage.color import hsv2rgb, rgb2hsv

    hsv = rgb2hsv(patch.rgb / 255)
    strong = hsv[..., 1] > _GREYISH
    if not strong.any():
        return patch
    typical = np.median(hsv[strong], axis=0)
    hsv[strong, 0] = rng.uniform(*colour.hue) / 360
    for channel, aims in ((1, colour.saturation), (2, colour.value)):
        scale = rng.uniform(*aims) / max(float(typical[channel]), 0.05)
        hsv[strong, channel] = np.clip(hsv[strong, channel] * scale, 0, 1)
    return Patch((hsv2rgb(hsv) * 255).astype(np.float32), patch.alpha)

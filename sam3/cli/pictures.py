"""Read pictures of any mode as 8-bit RGB, upright, with their transparency beside them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Picture:
    """A picture as the model gets it.

    Attributes:
        rgb: PIL image, mode RGB, turned upright as its EXIF orientation says. Where the file is
            transparent the colours lie on white, as viewers show them.
        alpha: ``[H, W]`` float32 in 0..1, the file's own transparency; None where it has none.
    """

    rgb: Image.Image
    alpha: np.ndarray | None


def load_picture(path: Path) -> Picture:
    """Read one file; of an animation the first frame.

    Args:
        path: anything Pillow reads: grey, 16-bit, float, palette, CMYK, with or without alpha.

    Returns:
        The picture.

    Raises:
        InputError: the file is not a picture, is damaged, or is too large to be safe.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as file:
            if getattr(file, "n_frames", 1) > 1:
                log.warning("%s has %d frames; only the first is used", path, file.n_frames)
            upright = ImageOps.exif_transpose(file)
            upright.load()
    except UnidentifiedImageError as error:
        raise InputError("not a picture, or of a format that Pillow does not read") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"too large: {error}") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise InputError(f"cannot be read: {error}") from error
    return _to_rgb(upright)


def _to_rgb(image: Image.Image) -> Picture:
    """8-bit RGB and alpha of an image of any mode."""
    from PIL import Image

    if image.mode == "F" or image.mode.startswith("I"):
        return Picture(_scaled_grey(image).convert("RGB"), None)
    if not _is_transparent(image):
        return Picture(image.convert("RGB"), None)
    rgba = image.convert("RGBA")
    alpha = np.asarray(rgba.getchannel("A"), dtype=np.float32) / 255.0
    white = Image.new("RGBA", rgba.size, "white")
    return Picture(Image.alpha_composite(white, rgba).convert("RGB"), alpha)


def _is_transparent(image: Image.Image) -> bool:
    return "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info


def _scaled_grey(image: Image.Image) -> Image.Image:
    """8-bit grey of a 16-bit, 32-bit or float picture: the whole range of its kind, not clipped.

    Integers above 255 count as 16-bit. Floats up to 1 count as 0..1, others by their largest value.
    """
    from PIL import Image

    values = np.nan_to_num(np.asarray(image, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    largest = float(values.max(initial=0.0))
    if image.mode == "F":
        full = 1.0 if largest <= 1.0 else largest
    elif image.mode.startswith("I;16") or largest > 255:
        full = max(65535.0, largest)
    else:
        full = 255.0
    grey = np.rint(np.clip(values / full, 0.0, 1.0) * 255.0).astype(np.uint8)
    return Image.fromarray(grey)

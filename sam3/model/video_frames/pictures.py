"""Frames that are pictures: a list in memory, one file, or a folder of files."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps
import torch
import torchvision.transforms.v2.functional as TF
from torch import Tensor

from ...errors import InputError, VideoError
from ..frames import to_uint8_rgb
from .prepare import FrameFormat, from_picture

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".tiff", ".tif", ".webp")
_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_ORIENTATION_TAG = 0x0112
# Whatever PIL's decoders raise on a broken file.
_BROKEN = (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError)


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sorting key that takes runs of digits for numbers: frame2 < frame10, 2 < 10 < a."""
    parts = re.split(r"([0-9]+)", name)
    key = [(0, int(p), "") if p[0] in "0123456789" else (1, 0, p.casefold()) for p in parts if p]
    return key, name


def is_image_file(path: str | os.PathLike[str]) -> bool:
    """Return whether the file name ends like a picture's."""
    return os.fspath(path).lower().endswith(IMAGE_EXTENSIONS)


def list_pictures(folder: Path) -> list[Path]:
    """The picture files of a folder in natural order of their stems; hidden ones are left out.

    Raises VideoError if there are none.
    """
    found = [p for p in folder.iterdir() if is_image_file(p) and not p.name.startswith(".")]
    if not found:
        raise VideoError(
            f"the folder {folder} holds no frames: allowed are {', '.join(IMAGE_EXTENSIONS)}"
        )
    return sorted(found, key=lambda path: (natural_key(path.stem), path.name))


class PictureFiles:
    """Picture files of one size as a video; each is decoded when it is read."""

    def __init__(
        self,
        paths: Sequence[Path],
        spec: FrameFormat,
        resample: PIL.Image.Resampling = PIL.Image.Resampling.BILINEAR,
        dtype: torch.dtype = torch.float16,
    ) -> None:
        """Look at all headers. Raises VideoError for a broken file or sizes that differ."""
        self.name = str(paths[0] if len(paths) == 1 else paths[0].parent)
        self.dtype = dtype
        self._paths, self._spec, self._resample = list(paths), spec, resample
        self.width, self.height = _size_of(paths[0])
        for path in paths[1:]:
            size = _size_of(path)
            if size != (self.width, self.height):
                raise VideoError(
                    f"all frames of a video must have one size: {paths[0].name} has {self.width}"
                    f" x {self.height} pixels, {path.name} has {size[0]} x {size[1]}; resize them"
                    " or move other pictures elsewhere"
                )

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, index: int, device: torch.device) -> Tensor:
        """See FrameSource."""
        image = self._upright(index)
        return from_picture(image, self._spec, self._resample, self.dtype).to(device)

    def pixels(self, index: int) -> np.ndarray:
        """Picture ``index`` at its own size, upright: uint8 [H, W, 3]. Raises VideoError."""
        return np.array(self._upright(index))

    def close(self) -> None:
        """Nothing stays open between reads."""

    def _upright(self, index: int) -> PIL.Image.Image:
        path = self._paths[index]
        try:
            with PIL.Image.open(path) as image:
                return PIL.ImageOps.exif_transpose(image).convert("RGB")
        except _BROKEN as error:
            raise VideoError(f"frame {index} ({path}) cannot be read: {error}") from error


def _size_of(path: Path) -> tuple[int, int]:
    """(width, height) of a picture as it is displayed, from its header."""
    try:
        with PIL.Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(_ORIENTATION_TAG) in _TURNED
    except _BROKEN as error:
        raise VideoError(f"{path} cannot be read as a picture: {error}") from error
    return (height, width) if turned else (width, height)


class PictureList:
    """Pictures in memory as a video: PIL images, arrays or tensors of one size."""

    name = "the list of frames"
    dtype = torch.float16

    def __init__(self, pictures: Sequence[Any], spec: FrameFormat) -> None:
        """Raises VideoError for an empty list or sizes that differ, InputError for other things."""
        if len(pictures) == 0:
            raise VideoError("the list of frames is empty: a video needs at least one frame")
        self._pictures = [_as_pil(picture, i) for i, picture in enumerate(pictures)]
        self._spec = spec
        self.width, self.height = self._pictures[0].size
        for index, picture in enumerate(self._pictures):
            if picture.size != (self.width, self.height):
                raise VideoError(
                    f"all frames of a video must have one size: frame 0 has {self.width} x"
                    f" {self.height} pixels, frame {index} has {picture.width} x {picture.height}"
                )

    def __len__(self) -> int:
        return len(self._pictures)

    def read(self, index: int, device: torch.device) -> Tensor:
        """See FrameSource."""
        bicubic = PIL.Image.Resampling.BICUBIC
        return from_picture(self._pictures[index], self._spec, bicubic, self.dtype).to(device)

    def close(self) -> None:
        """Nothing is open."""


def _as_pil(picture: Any, index: int) -> PIL.Image.Image:
    if isinstance(picture, PIL.Image.Image) and 0 not in picture.size:
        return picture
    try:
        return TF.to_pil_image(to_uint8_rgb(picture))
    except InputError as error:
        raise InputError(f"frame {index}: {error}") from error

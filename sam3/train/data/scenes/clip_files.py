"""Writes clips as an MP4 or a folder of PNG files, with the truth beside it if asked."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ....errors import InputError, MissingDependencyError
from .clips import Clip
from .vocabulary import COLOUR_NAMES, PATTERN_NAMES, SHAPE_NAMES


def write_clip(clip: Clip, path: str | os.PathLike[str], fps: int = 8, truth: bool = False) -> Path:
    """Write a clip as ``path``: an MP4 if it ends in ``.mp4``, else a folder 00000.png, 00001.png.

    ``truth`` adds, beside the MP4 or the folder, ``<name>_truth/`` with one label picture per
    frame (0 = background, k + 1 = object k) and ``truth.json`` (attributes, boxes, phrases).
    Returns ``path``. Raises InputError for fps below 1, MissingDependencyError without PyAV.
    """
    path = Path(path)
    if fps < 1:
        raise InputError(f"a video needs at least 1 frame per second, got {fps}")
    if path.suffix.lower() == ".mp4":
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_mp4(path, clip.images, fps)
    else:
        _write_pictures(path, clip.images)
    if truth:
        folder = path.with_name(f"{path.stem}_truth")
        _write_pictures(folder, clip.labels)
        text = json.dumps(describe(clip), indent=1)
        (folder / "truth.json").write_text(text + "\n", encoding="utf-8")
    return path


def describe(clip: Clip) -> dict[str, Any]:
    """What is in a clip, as JSON values: objects by id with boxes per frame, and phrases."""
    objects = []
    for k, (colour, shape, pattern) in enumerate(clip.attributes.tolist()):
        boxes = clip.boxes[:, k].tolist()
        seen = clip.visible[:, k].tolist()
        objects.append(
            {
                "id": k,
                "colour": COLOUR_NAMES[colour],
                "shape": SHAPE_NAMES[shape],
                "pattern": PATTERN_NAMES[pattern],
                "motion": clip.motions[k].kind,
                "boxes_xyxy": [box if s else None for box, s in zip(boxes, seen, strict=True)],
            }
        )
    phrases = [{"text": query.text, "ids": list(query.targets)} for query in clip.phrases]
    return {"frames": len(clip.images), "objects": objects, "phrases": phrases}


def _write_pictures(folder: Path, pictures: Iterable[np.ndarray]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{index:05d}.png")


def _write_mp4(path: Path, images: np.ndarray, fps: int) -> None:
    """H.264 where PyAV has it, else MPEG-4; odd sides get one more row or column."""
    try:
        import av
    except ImportError as error:
        raise MissingDependencyError(
            "writing an MP4 needs PyAV: pip install av; a folder of pictures does not"
        ) from error
    height, width = images.shape[1:3]
    images = np.pad(images, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    part = path.with_name(f".{path.name}.part.mp4")
    try:
        with av.open(str(part), "w") as container:
            stream: Any = container.add_stream(codec, rate=fps)
            stream.height, stream.width = images.shape[1:3]
            stream.pix_fmt = "yuv420p"
            stream.options = {"crf": "12"} if codec == "libx264" else {"qscale": "2"}
            for image in images:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)

"""The optional package pycocotools: found with advice, kept quiet, with gentler inputs."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from ..errors import InputError, MissingDependencyError

log = logging.getLogger(__name__)


def coco_mask() -> ModuleType:
    """The module ``pycocotools.mask``."""
    try:
        from pycocotools import mask
    except ImportError as error:
        raise _missing() from error
    return mask


def coco_classes() -> tuple[Any, Any]:
    """The classes ``COCO`` and ``COCOeval``."""
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise _missing() from error
    return COCO, COCOeval


def _missing() -> MissingDependencyError:
    return MissingDependencyError(
        "run-length masks and COCO metrics need pycocotools: pip install pycocotools"
    )


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Send what pycocotools prints to the log instead."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        yield
    for line in printed.getvalue().splitlines():
        log.debug("%s", line)


def make_coco(
    images: Sequence[Mapping[str, Any]],
    categories: Sequence[Mapping[str, Any]],
    annotations: Sequence[Mapping[str, Any]],
) -> Any:
    """A ``COCO`` object of ground truth or predictions; both lists may be empty.

    Annotations may lack ``id`` (counted from 1 then, all of them), ``iscrowd`` (0) and ``area``
    (that of the box, or of the mask without one).
    """
    coco = coco_classes()[0]()
    coco.dataset = {
        "images": list(images),
        "categories": list(categories),
        "annotations": [_completed(a, number) for number, a in enumerate(annotations, 1)],
    }
    with quietly():
        coco.createIndex()
    return coco


def _completed(annotation: Mapping[str, Any], number: int) -> dict[str, Any]:
    done = {"id": number, "iscrowd": 0, **annotation}
    if "bbox" not in done and is_rle(done.get("segmentation")):
        done["bbox"] = [float(v) for v in coco_mask().toBbox(as_rle(done["segmentation"]))]
    if "area" not in done:
        width, height = done["bbox"][2:] if "bbox" in done else (0, 0)
        done["area"] = float(width * height)
    return done


def is_rle(segmentation: Any) -> bool:
    """Whether a segmentation is run-length encoded (polygons are lists)."""
    return isinstance(segmentation, Mapping) and "counts" in segmentation


def as_rle(segmentation: Any, size: tuple[int, int] | None = None) -> dict[str, Any]:
    """A compressed run-length code of any COCO segmentation.

    Args:
        segmentation: compressed or uncompressed run lengths, or polygons.
        size: (height, width) of the picture, needed for polygons.
    """
    mask = coco_mask()
    if is_rle(segmentation):
        if not isinstance(segmentation["counts"], list):
            return dict(segmentation)
        return mask.frPyObjects(dict(segmentation), *segmentation["size"])
    if size is None or not isinstance(segmentation, list):
        raise InputError(
            "a segmentation must be run lengths (size and counts), or polygons of a picture whose "
            f"height and width are known; got {type(segmentation).__name__}"
        )
    return mask.merge(mask.frPyObjects(segmentation, *size)) if segmentation else _empty(size)


def _empty(size: tuple[int, int]) -> dict[str, Any]:
    return coco_mask().encode(np.zeros(size, dtype=np.uint8, order="F"))


def mask_ious(first: Sequence[Any], second: Sequence[Any]) -> np.ndarray:
    """IoU of compressed run-length masks: P and G of one size -> [P, G] float64."""
    if not len(first) or not len(second):
        return np.zeros((len(first), len(second)))
    found = coco_mask().iou(list(first), list(second), [0] * len(second))
    return np.asarray(found, dtype=np.float64).reshape(len(first), len(second))


def box_ious(first: Sequence[Any], second: Sequence[Any]) -> np.ndarray:
    """IoU of boxes ``x, y, w, h``: P and G -> [P, G] float64."""
    a = np.asarray(first, dtype=np.float64).reshape(-1, 1, 4)
    b = np.asarray(second, dtype=np.float64).reshape(1, -1, 4)
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    inter = np.clip(high - low, 0, None).prod(-1)
    return inter / np.maximum(a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - inter, 1e-12)

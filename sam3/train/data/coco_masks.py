"""Segmentations as COCO files hold them (polygons, run lengths, nothing), brought to run lengths.

Polygons are filled by pycocotools, an optional package, so that masks equal those of the
evaluation to the pixel. Run lengths need no package.
"""

from __future__ import annotations

from typing import Any

from ...errors import DataError, MissingDependencyError

Rle = dict[str, Any]
# x and y of three corners; pycocotools takes shorter lists for boxes.
_TRIANGLE = 6


def segmentation_to_rle(segmentation: Any, height: int, width: int) -> Rle | None:
    """One annotation's segmentation as ``{"size": [H, W], "counts": list or string}``.

    Args:
        segmentation: an RLE dict, a list of polygons ``[x0, y0, x1, y1, ...]`` in pixels, one such
            polygon, or None. Polygons of fewer than three corners count as absent.
        height, width: of the picture, in pixels; polygons are filled at this size.

    Returns:
        The RLE, which is not decoded here, or None where there is no mask.

    Raises:
        DataError: something else than the above.
        MissingDependencyError: polygons without pycocotools.
    """
    if not segmentation:
        return None
    if isinstance(segmentation, dict):
        if "counts" not in segmentation or "size" not in segmentation:
            raise DataError(
                "an RLE segmentation needs 'size' and 'counts', got the keys "
                f"{sorted(map(str, segmentation))}"
            )
        return {"size": list(segmentation["size"]), "counts": segmentation["counts"]}
    if not isinstance(segmentation, list):
        raise DataError(
            "a segmentation must be a list of polygons, an RLE dict or null, got "
            f"{type(segmentation).__name__}"
        )
    polygons = segmentation if isinstance(segmentation[0], list) else [segmentation]
    polygons = [p for p in polygons if len(p) >= _TRIANGLE]
    return _fill(polygons, height, width) if polygons else None


def _fill(polygons: list[list[float]], height: int, width: int) -> Rle:
    mask = _pycocotools_mask()
    rle = mask.merge(mask.frPyObjects(polygons, height, width))
    return {"size": [height, width], "counts": rle["counts"].decode("ascii")}


def _pycocotools_mask() -> Any:
    try:
        import pycocotools.mask
    except ImportError as error:
        raise MissingDependencyError(
            "filling polygon masks needs pycocotools: pip install pycocotools; boxes and RLE masks "
            "work without it"
        ) from error
    return pycocotools.mask

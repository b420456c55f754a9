"""What kinds of errors cost how much AP, by the optional package tidecv (Bolya et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import MissingDependencyError
from .coco_tools import as_rle, quietly


def tide_errors(
    truth: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], iou_type: str
) -> dict[str, float]:
    """AP points in [0, 100] that each main error costs at IoU 0.5.

    Args:
        truth: a COCO ground truth.
        rows: COCO result rows.
        iou_type: "bbox" or "segm".

    Returns:
        ``Cls``, ``Loc``, ``Both``, ``Dupe``, ``Bkg`` and ``Miss``.

    Raises:
        MissingDependencyError: tidecv is not installed.
    """
    try:
        from tidecv import TIDE
        from tidecv.data import Data
    except ImportError as error:
        raise MissingDependencyError(
            f"tide=True needs tidecv ({error}): pip install tidecv, or set tide=False"
        ) from error
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}

    def shape(item: Mapping[str, Any]) -> tuple[Any, Any]:
        if iou_type == "bbox":
            return item["bbox"], None
        return None, as_rle(item["segmentation"], sizes[item["image_id"]])

    wanted, found = Data("truth"), Data("predictions")
    for category in truth["categories"]:
        for data in (wanted, found):
            data.add_class(category["id"], category["name"])
    for item in truth["annotations"]:
        add = wanted.add_ignore_region if item.get("iscrowd") else wanted.add_ground_truth
        add(item["image_id"], item["category_id"], *shape(item))
    for row in rows:
        found.add_detection(row["image_id"], row["category_id"], row["score"], *shape(row))
    tide = TIDE()
    with quietly():
        tide.evaluate(wanted, found, mode=TIDE.BOX if iou_type == "bbox" else TIDE.MASK)
    errors = tide.get_main_errors()["predictions"]
    return {name: float(value) for name, value in errors.items()}

"""All that is wrong with a data set, in one report, before training starts.

    report = check_annotations("train.json", "pictures", masks=True)
    data = checked_annotations("train.json", "pictures", on_error="skip")

``checked_annotations`` returns what data sets take as ``ann_file``. In a configuration:

    ann_file:
      _target_: sam3.train.data.checks.checked_annotations
      ann_file: train.json
      img_folder: pictures
      on_error: skip
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

from ...errors import DataError, InputError
from .annotation_files import Source, read_annotations
from .checking.report import KINDS, DataReport, Problem
from .checking.rows import Findings, check_coco, check_pairs, is_pair_file
from .checking.videos import check_videos

__all__ = [
    "KINDS",
    "DataReport",
    "Problem",
    "check_annotations",
    "checked_annotations",
    "without_problems",
]

logger = logging.getLogger(__name__)

Row = dict[str, Any]


def check_annotations(
    ann_file: Source,
    img_folder: str | os.PathLike[str],
    *,
    masks: bool = False,
    decode_images: bool = False,
) -> DataReport:
    """Look for everything that would stop or spoil training.

    Args:
        ann_file: annotation file, or what it holds: COCO, SA-Co pairs or SA-Co videos.
        img_folder: folder of the pictures.
        masks: training needs masks.
        decode_images: decode every picture instead of reading its header only. Slow, but finds
            files that are cut off.

    Raises:
        DataError: the file cannot be read at all.
    """
    data, layout = _read(ann_file)
    return _report(ann_file, data, layout, Path(img_folder), masks, decode_images)


def checked_annotations(
    ann_file: Source,
    img_folder: str | os.PathLike[str],
    *,
    on_error: Literal["stop", "skip"] = "stop",
    ignore: Collection[str] = (),
    masks: bool = False,
    decode_images: bool = False,
) -> Row:
    """What the file holds, sound: either nothing was wrong, or bad rows are left out.

    Args:
        on_error: "stop" raises an error with the whole report; "skip" logs it and goes on with
            the rest: see :func:`without_problems`.
        ignore: kinds of problems to leave alone, of ``KINDS``.
        ann_file, img_folder, masks, decode_images: as for :func:`check_annotations`.

    Raises:
        DataError: problems with on_error="stop", or nothing is left.
        InputError: an unknown ``on_error`` or kind.
    """
    if on_error not in ("stop", "skip"):
        raise InputError(f"on_error must be 'stop' or 'skip', got {on_error!r}")
    data, layout = _read(ann_file)
    report = _report(ann_file, data, layout, Path(img_folder), masks, decode_images)
    report = report.without(ignore)
    if not report:
        return data
    empty = any(p.kind == "empty set" for p in report.problems)
    if on_error == "stop" or empty:
        advice = (
            "nothing is left to train on"
            if empty
            else "correct the file, or go on without the bad rows with on_error = 'skip'"
        )
        raise DataError(f"{report.text()}\n{advice}")
    logger.warning("%s\ngoing on without them", report.text())
    return without_problems(data, report)


def without_problems(data: Row, report: DataReport) -> Row:
    """A copy of the annotations without what the report says.

    Rows are left out together with the annotations that refer to them; bad masks become absent
    ones, and such objects train boxes only; boxes that end outside stay, as loaders cut them.
    """
    dropped: dict[str, set[int]] = {}
    unmasked: set[int] = set()
    for problem in report.problems:
        if problem.remedy == "leave out":
            dropped.setdefault(problem.section, set()).add(problem.row)
        elif problem.remedy == "use without mask":
            unmasked.add(problem.row)
    kept: Row = dict(data)
    for section, rows in dropped.items():
        kept[section] = [row for n, row in enumerate(data[section]) if n not in rows]
    if "annotations" in data:
        gone = dropped.get("annotations", set())
        kept["annotations"] = [
            {**row, "segmentation": None} if n in unmasked else row
            for n, row in enumerate(data["annotations"])
            if n not in gone
        ]
    return _without_orphans(kept, data)


def _without_orphans(kept: Row, data: Row) -> Row:
    """Drop rows that refer to pictures, videos or categories that were left out."""
    for section, key in (
        ("images", "image_id"),
        ("videos", "video_id"),
        ("categories", "category_id"),
    ):
        if section not in data or len(kept[section]) == len(data[section]):
            continue
        there = {row.get("id") for row in kept[section]}
        for child in ("annotations", "video_np_pairs"):
            if child in kept:
                kept[child] = [r for r in kept[child] if key not in r or r[key] in there]
    return kept


def _read(ann_file: Source) -> tuple[Row, str]:
    """The file's content and its layout."""
    data = read_annotations(ann_file, ())
    if "videos" in data:
        return read_annotations(data, ("videos", "video_np_pairs")), "videos"
    data = read_annotations(data, ("images",))
    if is_pair_file(data):
        return data, "pairs"
    return read_annotations(data, ("images", "categories", "annotations")), "coco"


def _report(
    ann_file: Source, data: Row, layout: str, folder: Path, masks: bool, decode: bool
) -> DataReport:
    findings: Findings
    if layout == "videos":
        findings = check_videos(data, folder, decode)
    elif layout == "pairs":
        findings = check_pairs(data, folder, decode)
    else:
        findings = check_coco(data, folder, masks, decode)
    name = str(ann_file) if isinstance(ann_file, (str, os.PathLike)) else "the annotations"
    sections = ("videos", "video_np_pairs", "images", "categories", "annotations")
    counts = {s: len(data[s]) for s in sections if isinstance(data.get(s), list)}
    return DataReport(name, tuple(findings.problems), counts)

"""Faults of whole annotation files in COCO's layout, and of SA-Co's (picture, phrase) pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .report import Problem, Section
from .values import Fault, box_fault, is_number, mask_fault, picture_fault

Row = dict[str, Any]

_COCO_IMAGE = ("id", "file_name", "width", "height")
_PAIR_IMAGE = ("id", "file_name", "text_input", "queried_category")
_CATEGORY = ("id", "name")
_ANNOTATION = ("id", "image_id", "category_id", "bbox")


@dataclass
class Findings:
    """Problems found so far, and which rows they disqualify."""

    problems: list[Problem] = field(default_factory=list)
    left_out: set[tuple[Section, int]] = field(default_factory=set)

    def add(self, section: Section, row: int, identifier: object, fault: Fault) -> None:
        """Note one fault."""
        self.problems.append(
            Problem(fault.kind, section, row, identifier, fault.detail, fault.remedy)
        )
        if fault.remedy == "leave out":
            self.left_out.add((section, row))

    def add_file(self, detail: str) -> None:
        """Note that the set is empty."""
        self.problems.append(Problem("empty set", "file", 0, None, detail, "none"))

    def sound_rows(
        self, data: Row, section: Section, keys: Sequence[str]
    ) -> Iterator[tuple[int, Row]]:
        """(number, row) of the rows that are complete; the others and double ids are noted."""
        seen: set[object] = set()
        for number, row in enumerate(data[section]):
            missing = [k for k in keys if not isinstance(row, dict) or row.get(k) is None]
            identifier = row.get("id") if isinstance(row, dict) else None
            if missing:
                detail = f"it has no {' and no '.join(missing)}"
                self.add(section, number, identifier, Fault("incomplete row", detail))
                continue
            if identifier in seen:
                detail = f"id {identifier} was there before"
                self.add(section, number, identifier, Fault("duplicate id", detail))
                continue
            seen.add(identifier)
            yield number, row


def is_pair_file(data: Row) -> bool:
    """Whether the rows of ``images`` are (picture, phrase) pairs."""
    return any(isinstance(row, dict) and "text_input" in row for row in data["images"])


def check_pairs(data: Row, folder: Path, decode: bool) -> Findings:
    """Faults of the pairs and of their pictures; ground truth is the evaluators' business."""
    findings = Findings()
    faults: dict[str, Fault | None] = {}
    usable = 0
    for number, row in findings.sound_rows(data, "images", _PAIR_IMAGE):
        name = row["file_name"]
        if name not in faults:
            faults[name] = picture_fault(folder, name, None, decode)
        fault = faults[name]
        if fault is not None:
            findings.add("images", number, row["id"], fault)
        usable += fault is None
    if not usable:
        findings.add_file("no pair has a picture that can be used")
    return findings


def check_coco(data: Row, folder: Path, masks: bool, decode: bool) -> Findings:
    """Faults of all rows, of the pictures, and of what is left when bad rows are gone.

    Args:
        data: a COCO file with images, categories and annotations.
        folder: of the pictures.
        masks: training needs masks, so pictures without any are a problem.
        decode: decode every picture.
    """
    findings = Findings()
    images = _check_images(findings, data, folder, decode)
    categories = {r["id"]: n for n, r in findings.sound_rows(data, "categories", _CATEGORY)}
    usable = _check_annotations(findings, data, images, categories)
    seen = {row["category_id"] for row, _ in usable}
    for category, number in categories.items():
        if category not in seen:
            name = data["categories"][number]["name"]
            fault = Fault("category without images", f"no picture shows {name!r}")
            findings.add("categories", number, category, fault)
    if masks:
        _check_masks_per_image(findings, images, usable)
    if not usable:
        findings.add_file("no picture with an annotation can be used")
    return findings


@dataclass(frozen=True)
class _Picture:
    number: int
    size: tuple[int, int]


def _check_images(findings: Findings, data: Row, folder: Path, decode: bool) -> dict[Any, _Picture]:
    """Id -> picture of all complete rows, also of those that cannot be used."""
    images = {}
    for number, row in findings.sound_rows(data, "images", _COCO_IMAGE):
        size = row["height"], row["width"]
        fault: Fault | None
        if not all(is_number(v) and 0 < v < float("inf") for v in size):
            fault = Fault("wrong size", f"height and width must be positive, got {size}")
            size = (0, 0)
        else:
            size = int(size[0]), int(size[1])
            fault = picture_fault(folder, row["file_name"], size, decode)
        if fault is not None:
            findings.add("images", number, row["id"], fault)
        images[row["id"]] = _Picture(number, size)
    return images


def _check_annotations(
    findings: Findings, data: Row, images: dict[Any, _Picture], categories: dict[Any, int]
) -> list[tuple[Row, bool]]:
    """(row, has a usable mask) of all annotations that can be used."""
    usable = []
    for number, row in findings.sound_rows(data, "annotations", _ANNOTATION):
        faults = []
        for section, known in (("image", images), ("category", categories)):
            identifier = row[f"{section}_id"]
            if identifier not in known:
                faults.append(Fault("unknown id", f"there is no {section} {identifier}"))
        picture = images.get(row["image_id"])
        mask_is_bad = False
        if picture is not None and 0 not in picture.size:
            box = box_fault(row["bbox"], *picture.size)
            mask = mask_fault(row.get("segmentation"), *picture.size)
            mask_is_bad = mask is not None
            faults += [f for f in (box, mask) if f is not None]
        for fault in faults:
            findings.add("annotations", number, row["id"], fault)
        if picture is None or ("images", picture.number) in findings.left_out:
            continue
        if ("annotations", number) not in findings.left_out:
            usable.append((row, bool(row.get("segmentation")) and not mask_is_bad))
    return usable


def _check_masks_per_image(
    findings: Findings, images: dict[Any, _Picture], usable: list[tuple[Row, bool]]
) -> None:
    annotated = {row["image_id"] for row, _ in usable}
    masked = {row["image_id"] for row, has_mask in usable if has_mask}
    for identifier, picture in images.items():
        if identifier in annotated - masked:
            fault = Fault("image without masks", "none of its annotations has a mask")
            findings.add("images", picture.number, identifier, fault)

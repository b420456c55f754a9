"""From a user's export to checked training and validation sets."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import DataError, InputError
from ..data.checks import checked_annotations
from .settings import DataSettings
from .splits import Split, find_splits

logger = logging.getLogger(__name__)

Row = dict[str, Any]


@dataclass(frozen=True)
class PictureSet:
    """Checked annotations (COCO), the folder of their pictures and whether all have masks."""

    content: Row
    folder: Path
    has_masks: bool

    @property
    def phrases(self) -> tuple[str, ...]:
        """Phrases of the categories, by category id."""
        rows = sorted(self.content["categories"], key=lambda row: row["id"])
        return tuple(row["name"] for row in rows)

    def describe(self) -> str:
        """Size in words."""
        sizes = len(self.content["images"]), len(self.content["annotations"])
        return f"{sizes[0]} pictures, {sizes[1]} {'masks' if self.has_masks else 'boxes'}"


@dataclass(frozen=True)
class FinetuneData:
    """Training and validation pictures, and in words where the latter come from."""

    train: PictureSet
    valid: PictureSet
    validation_source: str


def load_data(settings: DataSettings) -> FinetuneData:
    """Find, check and split the pictures.

    Raises:
        DataError: no such data, or errors in it with ``bad_data="stop"``; the message lists all.
        InputError: ``prompts`` for categories that do not exist.
    """
    train, valid = find_splits(settings.data, settings.images, settings.validation)
    train = _without_unused_rows(train)
    checked = _checked(train, settings.bad_data, ignore=())
    if valid is not None:
        valid = _with_categories(
            _without_unused_rows(valid), checked.content["categories"], settings.bad_data
        )
        held = _checked(valid, settings.bad_data, ignore=("category without images",))
        source = f"the split of {valid.file.parent.name}/{valid.file.name}"
    else:
        checked, held = _hold_out(checked, settings.hold_out, settings.seed)
        source = (
            f"{len(held.content['images'])} pictures held out by chance (seed {settings.seed}): "
            "the data have no validation split"
        )
    logger.info("training on %s; validation on %s", checked.describe(), source)
    sets = (_with_prompts(one, settings.prompts) for one in (checked, held))
    return FinetuneData(*sets, validation_source=source)


def _checked(split: Split, on_error: Any, ignore: tuple[str, ...]) -> PictureSet:
    """Masks count if any annotation has one; then pictures without any are errors, too."""
    rows = split.content["annotations"]
    has_masks = any(isinstance(row, dict) and row.get("segmentation") for row in rows)
    try:
        content = checked_annotations(
            split.content, split.folder, on_error=on_error, ignore=ignore, masks=has_masks
        )
    except DataError as error:
        raise DataError(f"{split.file}: {error}") from error
    if not has_masks:
        logger.info("%s has boxes only: masks are not trained and not measured", split.file.name)
    return PictureSet(content, split.folder, has_masks)


def _without_unused_rows(split: Split) -> Split:
    """Drop the row that Roboflow puts first: the name of all categories, used by no annotation."""
    categories = split.content["categories"]
    used = {row.get("category_id") for row in split.content["annotations"] if isinstance(row, dict)}
    parents = {row.get("supercategory") for row in categories if isinstance(row, dict)}
    kept = [
        row
        for row in categories
        if not isinstance(row, dict)
        or row.get("id") in used
        or (row.get("name") not in parents and row.get("supercategory") != "none")
    ]
    if not kept or len(kept) == len(categories):
        return split
    return replace(split, content={**split.content, "categories": kept})


def _with_categories(split: Split, wanted: list[Row], on_error: str) -> Split:
    """The split with the training categories' ids; they are told by name.

    Raises DataError if a category of the split is not among them, or leaves its rows out.
    """
    by_name = {row["name"]: row["id"] for row in wanted}
    annotations = split.content["annotations"]
    used = {row.get("category_id") for row in annotations if isinstance(row, dict)}
    ids = {row["id"]: by_name.get(row["name"]) for row in split.content["categories"]}
    names = {row["id"]: row["name"] for row in split.content["categories"]}
    unknown = {key for key in used if key in names and ids[key] is None}
    if unknown:
        text = (
            f"{split.file} has categories that the training split lacks: "
            f"{', '.join(sorted(names[key] for key in unknown))}; the training split has "
            f"{', '.join(by_name)}"
        )
        if on_error == "stop":
            raise DataError(text)
        logger.warning("%s; going on without them", text)
    kept = [
        {**row, "category_id": ids.get(row.get("category_id"), row.get("category_id"))}
        for row in annotations
        if row.get("category_id") not in unknown
    ]
    return replace(split, content={**split.content, "categories": wanted, "annotations": kept})


def _hold_out(pictures: PictureSet, share: float, seed: int) -> tuple[PictureSet, PictureSet]:
    """Split by picture; both parts get at least one."""
    ids = sorted(row["id"] for row in pictures.content["images"])
    if len(ids) < 2:
        raise DataError(
            f"there is {len(ids)} picture: training and validation need one each; add pictures, or "
            "name a validation file with --validation"
        )
    random.Random(seed).shuffle(ids)
    count = min(max(1, round(share * len(ids))), len(ids) - 1)
    held = set(ids[:count])
    parts = []
    for inside in (False, True):
        content = dict(pictures.content)
        for section, key in (("images", "id"), ("annotations", "image_id")):
            content[section] = [r for r in content[section] if (r[key] in held) == inside]
        parts.append(replace(pictures, content=content))
    return parts[0], parts[1]


def _with_prompts(pictures: PictureSet, prompts: Mapping[str, str]) -> PictureSet:
    names = [row["name"] for row in pictures.content["categories"]]
    unknown = sorted(set(prompts) - set(names))
    if unknown:
        raise InputError(
            f"--prompts names {', '.join(map(repr, unknown))}, but the categories are "
            f"{', '.join(map(repr, names))}"
        )
    categories = [
        {**row, "name": prompts.get(row["name"], row["name"])}
        for row in pictures.content["categories"]
    ]
    return replace(pictures, content={**pictures.content, "categories": categories})

"""Annotation files read as lists of datapoints: COCO, SA-Co image pairs, SA-Co videos.

A loader has three methods. ``getDatapointIds()`` lists the indices. For index ``i``,
``loadImagesFromDatapoint(i)`` gives dicts {id, file_name, original_img_id, coco_img_id} and
``loadQueriesAndAnnotationsFromDatapoint(i)`` gives (queries, annotations):

    query       id, original_cat_id, object_ids_output (into the annotations), query_text,
                query_processing_order (stage), ptr_x_query_id, ptr_y_query_id, image_id (into the
                images), input_box, input_box_label, input_points, is_exhaustive
    annotation  image_id, bbox (float32 [4], xywh as fractions of the picture), area (w * h of
                it), segmentation (RLE or None), object_id, is_crowd, id
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...errors import DataError
from .annotation_files import Source, read_annotations
from .coco_masks import segmentation_to_rle

Row = dict[str, Any]


def _query(identifier: int, category: int, text: str, image: int, objects: list[int]) -> Row:
    return {
        "id": identifier,
        "original_cat_id": category,
        "object_ids_output": objects,
        "query_text": text,
        "query_processing_order": 0,
        "ptr_x_query_id": None,
        "ptr_y_query_id": None,
        "image_id": image,
        "input_box": None,
        "input_box_label": None,
        "input_points": None,
        "is_exhaustive": True,
    }


def _relative_box(bbox: Sequence[float], height: int, width: int) -> Tensor:
    """xywh in pixels -> float32 [4], xywh as fractions, cut off at the picture's edges."""
    left, top, w, h = (float(v) for v in bbox)
    right, bottom = min(left + w, width), min(top + h, height)
    if left < 0 or top < 0 or left + w > right or top + h > bottom:
        left, top = min(max(left, 0), width), min(max(top, 0), height)
        w, h = max(right - left, 0), max(bottom - top, 0)
    return torch.tensor([left / width, top / height, w / width, h / height], dtype=torch.float32)


def _annotation(row: Row, bbox: Any, segmentation: Any, index: int, size: tuple[int, int]) -> Row:
    """Annotation ``index`` of a datapoint, without its image. size: (h, w) of the picture."""
    try:
        box = _relative_box(bbox, *size)
        mask = segmentation_to_rle(segmentation, *size)
    except (DataError, TypeError, ValueError) as error:
        raise DataError(f"annotation {row.get('id')}: {error}") from error
    return {
        "image_id": 0,
        "bbox": box,
        "area": (box[2] * box[3]).item(),
        "segmentation": mask,
        "object_id": index,
        "is_crowd": row.get("iscrowd", 0),
        "id": index,
    }


def _override_names(prompts: str | Sequence[Mapping[str, Any]] | None) -> dict[int, str]:
    """Category id -> phrase, from a list of {id, name} or the text of such a list."""
    if prompts is None:
        return {}
    try:
        rows = ast.literal_eval(prompts) if isinstance(prompts, str) else prompts
        return {int(row["id"]): str(row["name"]) for row in rows}
    except (ValueError, SyntaxError, TypeError, KeyError) as error:
        raise DataError(
            f"prompts must be a list of {{'id': ..., 'name': ...}} or its text, got {prompts!r}"
        ) from error


class COCO_FROM_JSON:
    """COCO detection files: per picture one query for each category of a chunk.

    Args:
        annotation_file: path of the JSON file, or what it holds.
        prompts: phrases that replace category names: a list of {id, name} or its text.
        include_negatives: also ask for categories that the picture does not show.
        category_chunk_size: categories per datapoint, None = all of them in one.

    Pictures are sorted by id, categories too; datapoint ``i`` is picture ``i // chunks`` with
    chunk ``i % chunks``. Masks are converted when a datapoint is loaded.
    """

    def __init__(
        self,
        annotation_file: Source,
        prompts: str | Sequence[Mapping[str, Any]] | None = None,
        include_negatives: bool = True,
        category_chunk_size: int | None = None,
    ) -> None:
        """Raises DataError for a file that cannot be used or a chunk size below 1."""
        data = read_annotations(annotation_file, ("images", "annotations", "categories"))
        names = {int(row["id"]): str(row["name"]) for row in data["categories"]}
        names.update((k, v) for k, v in _override_names(prompts).items() if k in names)
        categories = sorted(names)
        size = len(categories) if category_chunk_size is None else category_chunk_size
        if size < 1:
            raise DataError(
                "a COCO file needs a category and category_chunk_size at least 1, got "
                f"{len(categories)} categories and {category_chunk_size}"
            )
        self.names = names
        self.chunks = [categories[i : i + size] for i in range(0, len(categories), size)]
        self.images = sorted(data["images"], key=lambda row: row["id"])
        self.include_negatives = include_negatives
        self._annotations: dict[tuple[int, int], list[Row]] = defaultdict(list)
        for row in data["annotations"]:
            self._annotations[row["image_id"], row["category_id"]].append(row)

    def getDatapointIds(self) -> list[int]:
        """Indices of all datapoints."""
        return list(range(len(self.images) * len(self.chunks)))

    def loadImagesFromDatapoint(self, idx: int) -> list[Row]:
        """The one picture of datapoint ``idx``."""
        return [_image_row(self.images[idx // len(self.chunks)])]

    def loadQueriesAndAnnotationsFromDatapoint(self, idx: int) -> tuple[list[Row], list[Row]]:
        """Queries and annotations of datapoint ``idx``; raises DataError for a broken mask."""
        index, chunk = divmod(idx, len(self.chunks))
        image = self.images[index]
        size = int(image["height"]), int(image["width"])
        queries: list[Row] = []
        annotations: list[Row] = []
        for category in self.chunks[chunk]:
            rows = self._annotations.get((image["id"], category), [])
            if not rows and not self.include_negatives:
                continue
            objects = list(range(len(annotations), len(annotations) + len(rows)))
            for number, row in zip(objects, rows, strict=True):
                annotations.append(
                    _annotation(row, row["bbox"], row.get("segmentation"), number, size)
                )
            queries.append(_query(len(queries), category, self.names[category], 0, objects))
        return queries, annotations


class SAM3_EVAL_API_FROM_JSON_NP:
    """SA-Co gold and silver: every row of ``images`` is one (picture, phrase) pair, one query.

    Ground truth is left to the evaluators, so there are no annotations.
    """

    def __init__(self, annotation_file: Source) -> None:
        """Raises DataError for a file that cannot be used."""
        self.images = read_annotations(annotation_file, ("images",))["images"]

    def getDatapointIds(self) -> list[int]:
        """Indices of all pairs."""
        return list(range(len(self.images)))

    def loadImagesFromDatapoint(self, idx: int) -> list[Row]:
        """The picture of pair ``idx``."""
        return [_image_row(self.images[idx])]

    def loadQueriesAndAnnotationsFromDatapoint(self, idx: int) -> tuple[list[Row], list[Row]]:
        """The phrase of pair ``idx``, and no annotations."""
        row = self.images[idx]
        return [_query(0, int(row["queried_category"]), row["text_input"], 0, [])], []


class SAM3_VEVAL_API_FROM_JSON_NP:
    """SA-Co videos (YT-VIS layout): per video one query for each phrase and frame.

    The stage of a query is its frame. Evaluation needs no ground truth here; training does.

    Args:
        annotation_file: path of the JSON file, or what it holds.
        load_annotations: give boxes and masks, and as ``object_id`` the masklet's number within
            the video.
    """

    def __init__(self, annotation_file: Source, load_annotations: bool = False) -> None:
        """Raises DataError for a file that cannot be used."""
        data = read_annotations(annotation_file, ("videos", "video_np_pairs"))
        self.videos = data["videos"]
        self._pairs: dict[int, list[Row]] = defaultdict(list)
        for row in data["video_np_pairs"]:
            self._pairs[row["video_id"]].append(row)
        self._masklets: dict[tuple[int, int], list[Row]] = defaultdict(list)
        for row in data.get("annotations") or () if load_annotations else ():
            self._masklets[row["video_id"], row["category_id"]].append(row)

    def getDatapointIds(self) -> list[int]:
        """Indices of all videos."""
        return list(range(len(self.videos)))

    def loadImagesFromDatapoint(self, idx: int) -> list[Row]:
        """All frames of video ``idx`` in order."""
        video = self.videos[idx]
        return [
            {
                "id": frame,
                "file_name": name,
                "original_img_id": video["id"],
                "coco_img_id": video["id"],
            }
            for frame, name in enumerate(video["file_names"])
        ]

    def loadQueriesAndAnnotationsFromDatapoint(self, idx: int) -> tuple[list[Row], list[Row]]:
        """Queries (phrase by phrase, frame by frame) and annotations of video ``idx``."""
        video = self.videos[idx]
        queries: list[Row] = []
        annotations: list[Row] = []
        masklets = 0
        for pair in self._pairs.get(video["id"], ()):
            category = int(pair["category_id"])
            rows = self._masklets.get((video["id"], category), [])
            for frame in range(len(video["file_names"])):
                objects = self._add_frame(annotations, rows, masklets, frame, video)
                query = _query(len(queries), category, pair["noun_phrase"], frame, objects)
                query["query_processing_order"] = frame
                queries.append(query)
            masklets += len(rows)
        return queries, annotations

    @staticmethod
    def _add_frame(
        annotations: list[Row], rows: list[Row], first: int, frame: int, video: Row
    ) -> list[int]:
        """Append one frame's objects; their indices. first: number of the first masklet."""
        size = int(video["height"]), int(video["width"])
        added = []
        for number, row in enumerate(rows, first):
            bbox = row["bboxes"][frame]
            if bbox is None:  # not in sight
                continue
            masks = row.get("segmentations")
            index = len(annotations)
            made = _annotation(row, bbox, masks[frame] if masks else None, index, size)
            annotations.append({**made, "image_id": frame, "object_id": number})
            added.append(index)
        return added


def _image_row(row: Row) -> Row:
    return {
        "id": 0,
        "file_name": row["file_name"],
        "original_img_id": row["id"],
        "coco_img_id": row["id"],
    }

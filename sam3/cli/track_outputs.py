"""What ``track`` writes: mask pictures and the JSON file, frame by frame, never all at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ..perflib.rle import decode_rle, encode_rle
from .outputs import RECORD, save_png, write_atomically
from .overlay import instance_color

if TYPE_CHECKING:
    from ..model.video.outputs import Outputs
    from .track_journal import Journal, Record

FORMAT_VERSION = 1
OVERLAY = "overlay"
MASKS = "masks"
_PALETTE_SIZE = 256


@dataclass(frozen=True)
class TrackPaths:
    """Where the results of one video go. masks: folder of the label maps; None without them."""

    overlay: Path
    record: Path
    journal: Path
    masks: Path | None

    @classmethod
    def of(cls, folder: Path, name: str, masks: bool) -> TrackPaths:
        """Paths for a video called ``name``, which may have dots in it."""
        return cls(
            folder / f"{name}_overlay.mp4",
            folder / f"{name}.json",
            folder / f".{name}.journal",
            folder / f"{name}_masks" if masks else None,
        )

    def mask(self, frame: int) -> Path | None:
        """The label map of a frame."""
        return None if self.masks is None else self.masks / f"{frame:05d}.png"

    def files(self) -> dict[str, Path]:
        """What the user gets, by kind."""
        kinds = {OVERLAY: self.overlay, MASKS: self.masks, RECORD: self.record}
        return {kind: path for kind, path in kinds.items() if path is not None}

    def clear(self) -> None:
        """Remove the results of an earlier run, which are not those of the coming one."""
        if self.masks is not None and (self.journal.is_file() or _is_record(self.record)):
            for picture in self.masks.glob("*.png"):
                if picture.stem.isdigit():
                    picture.unlink()
        for path in (self.record, self.journal, self.overlay):
            path.unlink(missing_ok=True)


def _is_record(path: Path) -> bool:
    """Whether a file was written by :func:`write_record`, so that the masks beside it are ours."""
    try:
        return "frame_count" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def frame_record(frame: int, outputs: Outputs, phrase_of: Callable[[int], str]) -> Record:
    """What is kept of one frame.

    Args:
        frame: its number.
        outputs: of the video model.
        phrase_of: what an object was found by.

    Returns:
        ``frame`` and ``objects``, each with id, phrase, score, box (xyxy in pixels, x1 and y1
        beyond the last one), area in pixels and ``segmentation`` (COCO RLE).
    """
    masks = outputs["out_binary_masks"]
    height, width = masks.shape[1:]
    # The model counts a box from its first to its last pixel.
    x, y, w, h = np.rint(outputs["out_boxes_xywh"].T * [[width], [height], [width], [height]])
    boxes = np.stack([x, y, x + w + 1, y + h + 1], axis=1).astype(int).tolist()
    columns = zip(
        outputs["out_obj_ids"].tolist(), outputs["out_probs"].tolist(), boxes, masks, strict=True
    )
    objects = [
        {
            "id": obj_id,
            "phrase": phrase_of(obj_id),
            "score": round(score, 6),
            "box": box,
            "area": int(mask.sum()),
            "segmentation": encode_rle(mask),
        }
        for obj_id, score, box, mask in columns
    ]
    return {"frame": frame, "objects": objects}


def save_label_map(path: Path, record: Record, size: tuple[int, int]) -> None:
    """Write the masks of a frame as one picture: 0 is no object, id + 1 an object.

    8-bit with the overlay's colours as its palette, or 16-bit grey where an id needs it. Masks do
    not overlap: the model gives each pixel to one object.

    Args:
        path: a PNG.
        record: see :func:`frame_record`.
        size: (W, H) of the frame.
    """
    from PIL import Image

    labels = np.zeros((size[1], size[0]), dtype=np.uint16)
    for item in record["objects"]:
        labels[decode_rle(item["segmentation"])] = item["id"] + 1
    if labels.max(initial=0) >= _PALETTE_SIZE:
        image = Image.fromarray(labels)
    else:
        image = Image.fromarray(labels.astype(np.uint8))
        colors = [(0, 0, 0), *map(instance_color, range(_PALETTE_SIZE - 1))]
        image.putpalette([channel for color in colors for channel in color])
    save_png(path, image)


def write_record(
    path: Path, facts: Mapping[str, Any], journal: Journal, *, with_masks: bool, complete: bool
) -> int:
    """Write the JSON file of a video, one frame in memory at a time.

    Args:
        path: the file.
        facts: what comes before the frames.
        journal: the finished frames.
        with_masks: keep the ``segmentation`` of every object.
        complete: whether the video is done.

    Returns:
        How many objects there are.
    """
    objects: dict[int, dict[str, Any]] = {}

    def write(file: IO[bytes]) -> None:
        file.write(_json({"format": FORMAT_VERSION, **facts})[:-1] + b',"frames":[')
        for place, frame in enumerate(journal):
            record = journal[frame]
            for item in record["objects"]:
                _count(objects, item, frame)
                if not with_masks:
                    del item["segmentation"]
            file.write((b",\n" if place else b"\n") + _json(record))
        end = {"objects": sorted(objects.values(), key=lambda o: o["id"]), "complete": complete}
        file.write(b"\n]," + _json(end)[1:] + b"\n")

    write_atomically(path, write)
    return len(objects)


def _count(objects: dict[int, dict[str, Any]], item: Mapping[str, Any], frame: int) -> None:
    """Add one frame's object to the table of all objects."""
    known = objects.setdefault(
        item["id"],
        {"id": item["id"], "phrase": item["phrase"], "first_frame": frame, "frames": 0},
    )
    known["last_frame"] = frame
    known["frames"] += 1


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def finished_before(
    paths: TrackPaths, stamp: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The JSON file of an earlier run that did the same to its end; None where there is none.

    Args:
        paths: of the outputs; all of them must still be there.
        stamp: of the video.
        settings: what the results are made with.
    """
    try:
        record = json.loads(paths.record.read_text(encoding="utf-8"))
        same = (
            record["complete"] is True
            and record["format"] == FORMAT_VERSION
            and record["source"] == json.loads(json.dumps(stamp))
            and record["settings"] == json.loads(json.dumps(settings))
            and paths.overlay.is_file()
            and all(
                mask is None or mask.is_file()
                for mask in map(paths.mask, range(record["frame_count"]))
            )
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if same else None

"""Faults of SA-Co's video files (YT-VIS layout)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .rows import Findings
from .values import Fault, box_fault, mask_fault, picture_fault

Row = dict[str, Any]

_VIDEO = ("id", "file_names", "height", "width")
_PAIR = ("id", "video_id", "category_id", "noun_phrase")
_MASKLET = ("id", "video_id", "category_id", "bboxes")


def check_videos(data: Row, folder: Path, decode: bool) -> Findings:
    """Faults of the videos' frames, of their phrases and, if there are any, of their masklets."""
    findings = Findings()
    videos = {row["id"]: (n, row) for n, row in findings.sound_rows(data, "videos", _VIDEO)}
    for identifier, (number, row) in videos.items():
        fault = _frames_fault(row, folder, decode)
        if fault is not None:
            findings.add("videos", number, identifier, fault)
    asked = set()
    for number, row in findings.sound_rows(data, "video_np_pairs", _PAIR):
        if row["video_id"] in videos:
            asked.add(row["video_id"])
            continue
        fault = Fault("unknown id", f"there is no video {row['video_id']}")
        findings.add("video_np_pairs", number, row["id"], fault)
    if isinstance(data.get("annotations"), list):
        _check_masklets(findings, data, videos)
    if not any(("videos", videos[v][0]) not in findings.left_out for v in asked):
        findings.add_file("no video with a phrase can be used")
    return findings


def _frames_fault(row: Row, folder: Path, decode: bool) -> Fault | None:
    """Fault of the first bad frame, with the number of all."""
    size = int(row["height"]), int(row["width"])
    found = [picture_fault(folder, name, size, decode) for name in row["file_names"]]
    faults = [fault for fault in found if fault is not None]
    if not found:
        return Fault("incomplete row", "it has no frames")
    if not faults:
        return None
    return faults[0]._replace(detail=f"{len(faults)} of {len(found)} frames: {faults[0].detail}")


def _check_masklets(findings: Findings, data: Row, videos: dict[Any, tuple[int, Row]]) -> None:
    for number, row in findings.sound_rows(data, "annotations", _MASKLET):
        if row["video_id"] not in videos:
            fault: Fault | None = Fault("unknown id", f"there is no video {row['video_id']}")
        else:
            fault = _masklet_fault(row, videos[row["video_id"]][1])
        if fault is not None:
            findings.add("annotations", number, row["id"], fault)


def _masklet_fault(row: Row, video: Row) -> Fault | None:
    """The worst fault of a masklet, which is used as a whole or not at all."""
    frames, size = len(video["file_names"]), (int(video["height"]), int(video["width"]))
    masks = row.get("segmentations") or [None] * frames
    if len(row["bboxes"]) != frames or len(masks) != frames:
        detail = f"its video has {frames} frames, it has {len(row['bboxes'])} boxes and "
        return Fault("incomplete row", f"{detail}{len(masks)} masks")
    faults = []
    for frame, (bbox, mask) in enumerate(zip(row["bboxes"], masks, strict=True)):
        if bbox is None:  # not in sight
            continue
        for fault in (box_fault(bbox, *size), mask_fault(mask, *size)):
            if fault is None:
                continue
            cut = fault.remedy == "cut at the edges"
            detail = f"frame {frame}: {fault.detail}"
            faults.append(Fault(fault.kind, detail, fault.remedy if cut else "leave out"))
    return min(faults, key=lambda fault: fault.remedy != "leave out", default=None)

"""Turns the numbers of a clip evaluation into a Markdown page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .report_parts import cell, table

_PROMPT_COLUMNS = (
    ("objects", "objects"),
    ("J", "J"),
    ("J, visible", "J_visible"),
    ("J >= 0.5, visible", "followed"),
    ("absent frames", "absent_frames"),
    ("of these empty", "absent_empty"),
    ("J, frame 0", "J_first"),
    ("J, last frame", "J_last"),
)
_TRACK_COLUMNS = (
    ("phrases", "phrases"),
    ("objects", "objects"),
    ("recall", "recall"),
    ("recall, clear", "recall_clear"),
    ("precision", "precision"),
    ("HOTA", "HOTA"),
    ("DetA", "DetA"),
    ("AssA", "AssA"),
    ("HOTA@0.5", "HOTA@0.5"),
    ("DetA@0.5", "DetA@0.5"),
    ("AssA@0.5", "AssA@0.5"),
    ("matches", "matches"),
    ("id switches", "id_switches"),
    ("share", "id_switch_share"),
    ("objects that switch", "switching_objects"),
)
_BORDER_COLUMNS = (
    ("entered", "entered"),
    ("found", "entered_found"),
    ("left", "left"),
    ("dropped", "left_dropped"),
    ("dropped at the end", "left_dropped_at_end"),
    ("frames without a mask", "left_frames_clean"),
)
_SILENCE_COLUMNS = (("phrases", "phrases"), ("without any output", "silent"))
_COUNTS = {
    "objects",
    "absent_frames",
    "phrases",
    "matches",
    "id_switches",
    "entered",
    "left",
}


def to_markdown(report: Mapping[str, Any]) -> str:
    """The page for a report as ``evaluate_clips`` builds it."""
    where = ", ".join(f"{key} {value}" for key, value in report["environment"].items())
    texts = "\n".join(_text_section(frames, part) for frames, part in report["text"].items())
    return f"""# {report["checkpoint"]} on {report["clips"]} held-out clips

Made by `{report["command"]}` in {report["seconds"]["all"]:.0f} s
({report["seconds"]["all"] / report["clips"]:.1f} s a clip).
Checkpoint {report["checkpoint_bytes"] / 1e6:.2f} MB, input {report["resolution"]} px,
seed {report["seed"]}; {where}.

{_goals(report)}

Clips are drawn from a random stream that training never draws, at native sizes of 96 to
{report["max_side"]} px with sides up to 1 : 3; they hold 1 to 4 objects that move, cross, enter and
leave.

{_prompt_section(report["prompts"])}
{texts}
{_DEFINITIONS}"""


def _goals(report: Mapping[str, Any]) -> str:
    prompts = report["prompts"]
    click = prompts["rows"].get("one click", {}).get("J")
    last = prompts["frames"] - 1
    body = [[f"one click on frame 0: mean J over frames 1-{last}", cell(click), "0.850", "0.750"]]
    for frames, part in report["text"].items():
        row = part["rows"].get("all", {})
        absent = part["absent"].get("absent", {})
        body += [
            [f"{name}, {frames} frames", cell(values.get(key)), aim, needed]
            for name, key, values, aim, needed in (
                ("phrase: id switches per match", "id_switch_share", row, "0", "< 0.050"),
                ("phrase: entering objects found", "entered_found", row, "1", "-"),
                ("phrase: leaving objects dropped", "left_dropped", row, "1", "-"),
                ("absent phrase: no output at all", "silent", absent, "1", "-"),
            )
        ]
    return table(["number", "measured", "aim", "needed"], body)


def _prompt_section(part: Mapping[str, Any]) -> str:
    names = {"click": "one click", "box": "box", "mask": "true mask"}
    frames = [str(t) for t in range(part["frames"])]
    curves = [[names[kind], *map(cell, values)] for kind, values in part["by_frame"].items()]
    return f"""## Pointed out on frame 0, {part["frames"]} frames

Every object of frame 0 gets one click on its most inner pixel (or its exact box, or its true mask),
all objects of a clip in one session of `Sam3TrackerPredictor` with memory selection, as in the
video model. J is over frames 1 to {part["frames"] - 1}.

{_rows_table("prompt", part["rows"], _PROMPT_COLUMNS)}

J by frame:

{table(["frame", *frames], curves)}
"""


def _text_section(frames: str, part: Mapping[str, Any]) -> str:
    curves = part["by_frame"]
    body = [
        [str(t), cell(recall), cell(precision)]
        for t, (recall, precision) in enumerate(
            zip(curves["recall"], curves["precision"], strict=True)
        )
    ]
    return f"""## Named by a phrase, {frames} frames

{_rows_table("kind", part["rows"], _TRACK_COLUMNS)}

Objects that enter after frame 0, and objects that leave for good:

{_rows_table("kind", part["rows"], _BORDER_COLUMNS)}

Phrases that name nothing in the clip:

{_rows_table("kind", part["absent"], _SILENCE_COLUMNS)}

{table(["frame", "recall", "precision"], body)}
"""


def _rows_table(
    title: str, rows: Mapping[str, Mapping[str, float]], columns: Sequence[tuple[str, str]]
) -> str:
    return table(
        [title, *(name for name, _ in columns)],
        [
            [name, *(f"{row[k]:.0f}" if k in _COUNTS else cell(row[k]) for _, k in columns)]
            for name, row in rows.items()
        ],
    )


_DEFINITIONS = """## What the numbers mean

- **J** is the IoU of predicted and true visible pixels at native size. As in DAVIS, a frame on
  which the object is not to be seen counts 1 if no pixel is predicted, else 0. The true mask's J on
  frame 0 tells what the model's coarse grid of masks costs by itself.
- **Phrases** are asked on frame 0 through `Sam3VideoPredictor` with the thresholds that the model
  has for everybody. Two lengths, because those are made for long videos: output waits 15 frames, a
  track is taken back after 8 frames without a detection, masks are refreshed on every 16th frame.
  Most of this cannot happen within 8 frames; all of it can within 24.
- A track and an object **match** on a frame where their masks have an IoU of 0.5 or more, one to
  one. **Recall** is over visible objects (8 pixels), **clear** ones show half of themselves and 40
  pixels. An **id switch** is a match with another track than the object's match before.
- **HOTA**, **DetA**, **AssA**: averaged over IoU thresholds 0.05 to 0.95, and at 0.5; a small
  implementation of our own of the formulas of Luiten et al. 2021
  (https://arxiv.org/abs/2009.07736), each clip and phrase a sequence, counts pooled. Absent phrases
  are not in it.
- **Entered**: not to be seen on frame 0, clearly visible later; found: matched at the latest 3
  frames after the first clear one. Clips that end sooner are no excuse.
- **Left**: matched at least once, and not to be seen from some frame to the end; dropped: none of
  the tracks that ever matched it has a pixel on any of these frames, unless it matches another
  object there.
"""

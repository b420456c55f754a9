"""Turns the numbers of a scene evaluation into a Markdown page."""

from __future__ import annotations

from typing import Any

from .report_parts import cell, table

_GOALS = (
    ("mask AP@50", "mask_AP50", 0.85, 0.75),
    ("mean IoU of matched masks (IoU >= 0.5)", "mask_iou_matched", 0.85, 0.80),
    ("mean IoU, missed instances = 0", "mask_iou_missed_0", None, None),
    ("presence accuracy", "presence_accuracy", 0.95, 0.92),
)
_COLUMNS = (
    ("pairs", "pairs"),
    ("instances", "instances"),
    ("AP50", "mask_AP50"),
    ("AP", "mask_AP"),
    ("IoU matched", "mask_iou_matched"),
    ("IoU missed=0", "mask_iou_missed_0"),
    ("box IoU missed=0", "box_iou_missed_0"),
    ("recall@50", "recall_50"),
    ("pmF1", "pmF1"),
    ("IL_MCC", "IL_MCC"),
    ("cgF1", "cgF1"),
    ("presence acc.", "presence_accuracy"),
)


def to_markdown(report: dict[str, Any]) -> str:
    """The page for a report as ``evaluate_scenes`` builds it."""
    total = report["rows"]["all"]
    goals = table(
        ["number", "measured", "aim", "needed"],
        [[name, cell(total[key]), cell(aim), cell(needed)] for name, key, aim, needed in _GOALS],
    )
    kinds = table(
        ["phrases", *(name for name, _ in _COLUMNS)],
        [
            [
                name,
                *(
                    f"{row[key]:.0f}" if key in ("pairs", "instances") else cell(row[key])
                    for _, key in _COLUMNS
                ),
            ]
            for name, row in report["rows"].items()
        ],
    )
    where = ", ".join(f"{key} {value}" for key, value in report["environment"].items())
    return f"""# {report["checkpoint"]} on {report["scenes"]} held-out scenes

Made by `{report["command"]}` in {report["seconds"]} s.
Checkpoint {report["checkpoint_bytes"] / 1e6:.2f} MB, input {report["resolution"]} px,
seed {report["seed"]}; {where}.

{goals}

Presence: balanced accuracy {cell(total["presence_balanced_accuracy"])},
majority rate {cell(total["presence_majority_rate"])} (presence token > 0.5).
Best score threshold {total["best_threshold"]:.2f}
(F1 at IoU 0.5: {cell(total["best_threshold_F1@0.5"])}).
The F1 and IoU columns use a score threshold of {report["score_threshold"]};
AP counts every prediction that scores above {report["collect_threshold"]}, absent phrases included.

{kinds}
"""

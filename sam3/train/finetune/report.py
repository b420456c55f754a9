"""The report of a fine-tuning: what was trained on what, and what it changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..eval.report_parts import cell, table, write_files

REPORT_FILE = "report.md"
_ROWS = (
    ("box AP", "bbox_AP"),
    ("box AP@50", "bbox_AP_50"),
    ("box AP@75", "bbox_AP_75"),
    ("mask AP", "segm_AP"),
    ("mask AP@50", "segm_AP_50"),
    ("mask AP@75", "segm_AP_75"),
)


def metric_rows(before: Mapping[str, float], after: Mapping[str, float]) -> list[Sequence[str]]:
    """(name, before, after) of what was measured."""
    return [
        (title, cell(before.get(key)), cell(after.get(key)))
        for title, key in _ROWS
        if key in before or key in after
    ]


def write_report(folder: Path, report: Mapping[str, Any]) -> None:
    """Write ``report.md`` and ``report.json``, each whole or not at all."""
    write_files(folder / REPORT_FILE, to_markdown(report), report)


def to_markdown(report: Mapping[str, Any]) -> str:
    """The page for a report as ``run.finetune`` builds it."""
    numbers = table(
        ["validation", "before", "after"], metric_rows(report["before"], report["after"])
    )
    recipe = table(
        ["setting", "value"], [[name, str(value)] for name, value in report["recipe"].items()]
    )
    where = ", ".join(f"{key} {value}" for key, value in report["environment"].items())
    phrases = ", ".join(f"`{phrase}`" for phrase in report["phrases"])
    memory = report["gpu_memory_gib"]
    return f"""# {report["checkpoint"]} fine-tuned

Phrases: {phrases}.
Trained on {report["training"]}; measured on {report["validation"]}.
{report["steps"]} steps in {report["seconds"] / 60:.1f} min
({report["cpu_seconds"] / 60:.1f} min of processor time
{"" if memory is None else f", {memory:.1f} GiB of GPU memory "}for training); {where}.

{numbers}

AP of -1: the validation pictures have no such object.

{recipe}
"""

"""What all evaluation reports share: table cells, the machine they ran on, their two files."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def cell(value: float | None) -> str:
    """Three decimals; counts without any; a dash for None and NaN."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.0f}" if value >= 10 else f"{value:.3f}"


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table of texts; every row as long as ``head``."""
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *body)]
    return "\n".join(lines)


def environment() -> dict[str, str]:
    """Versions and machine, for the report's head."""
    import numpy
    import PIL
    import torch

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "pillow": PIL.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
    }


def write_files(path: Path, markdown: str, report: Mapping[str, Any]) -> None:
    """Write ``path`` (.md) and its twin with the ending .json, each whole or not at all.

    NaN, a share of nothing, is null in JSON.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = {
        path.with_suffix(".md"): markdown,
        path.with_suffix(".json"): json.dumps(_without_nan(report), indent=1, allow_nan=False),
    }
    for target, text in texts.items():
        temporary = target.with_name(f".{target.name}.tmp")
        temporary.write_text(text + "\n", encoding="utf-8")
        os.replace(temporary, target)


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value

"""``info``: tell what a checkpoint file is, without building a model."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import Sam3Error
from . import exit_codes

log = logging.getLogger(__name__)

DESCRIPTION = (
    "Tell what a checkpoint file is: format, version, tensors, precision, and whether the image "
    "model can be loaded from it. Exit code 0, or 3 when the file is missing or unusable."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``info``."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a path or a model name")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Describe one file on the standard output.

    Args:
        arguments: ``checkpoint`` (path or name) and ``json``.

    Returns:
        An exit code of ``exit_codes``.
    """
    from ..checkpoint import describe
    from ..checkpoint.catalog import default_folders
    from ..checkpoint.resolve import resolve_model

    try:
        path = Path(arguments.checkpoint).expanduser()
        if not path.is_dir():  # a folder is a sharded checkpoint; the rest resolves like --model
            path = resolve_model(arguments.checkpoint, default_folders(), allow_download=False)
        facts = to_plain(asdict(describe(path)))
    except (Sam3Error, OSError) as error:
        log.error("%s", error)
        return exit_codes.MODEL
    if arguments.json:
        sys.stdout.write(json.dumps(facts, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write("\n".join(lines(facts)) + "\n")
    return exit_codes.OK


def to_plain(value: Any) -> Any:
    """Values that JSON can hold: paths and other objects become text, tuples become lists."""
    if isinstance(value, Mapping):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(v) for v in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return str(value)


def lines(facts: Mapping[str, Any], indent: str = "") -> list[str]:
    """Facts as aligned lines of text; nested ones are indented, empty ones left out."""
    shown = {k: v for k, v in facts.items() if v not in (None, "", [], {})}
    width = max((len(k) for k in shown), default=0)
    out: list[str] = []
    for key, value in shown.items():
        title = key.replace("_", " ")
        if isinstance(value, Mapping):
            out.append(f"{indent}{title}")
            out += lines(value, indent + "  ")
        else:
            out.append(f"{indent}{title:<{width}}  {as_text(value)}")
    return out


def as_text(value: Any) -> str:
    """One value for a reader."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        shown = ", ".join(str(v) for v in value[:8])
        return shown + (f" ... ({len(value)} in all)" if len(value) > 8 else "")
    return str(value)

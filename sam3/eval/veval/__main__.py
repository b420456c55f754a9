"""Evaluate a file of video predictions and print the metrics as one JSON object."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from ...errors import Sam3Error
from ..files import write_json
from .evaluator import VEvalEvaluator

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0, or 1 when a file cannot be used."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    given = _parser().parse_args(arguments)
    evaluator = VEvalEvaluator(given.gt, given.track_nms, given.frame_nms)
    try:
        metrics = evaluator.evaluate(given.pred)
    except Sam3Error as error:
        log.error("%s", error)
        return 1
    if given.out is not None:
        write_json(given.out, metrics)
    sys.stdout.write(json.dumps(metrics, indent=1) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sam3.eval.veval", description="Evaluate video predictions on SA-Co/VEval."
    )
    parser.add_argument("--gt", type=Path, required=True, metavar="FILE", help="ground truth")
    parser.add_argument("--pred", type=Path, required=True, metavar="FILE", help="predictions")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the metrics here")
    parser.add_argument("--track-nms", type=float, metavar="IOU", help="drop repeated tracks")
    parser.add_argument("--frame-nms", type=float, metavar="IOU", help="drop repeated masks")
    return parser


if __name__ == "__main__":
    sys.exit(main())

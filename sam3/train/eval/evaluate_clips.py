"""Measures a checkpoint with a tracker on drawn clips it has never seen and writes a report.

    python -m sam3.train.eval.evaluate_clips --checkpoint sam3/assets/sam3_tiny.safetensors

Clips come from a random stream that training never draws and pass through ``Sam3TrackerPredictor``
(clicks, boxes, masks) and ``Sam3VideoPredictor`` (phrases) like a user's video. The report holds
its own command and says what its numbers mean.
"""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..data.scenes.clips import Clip
from . import prompt_metrics, track_metrics
from .clip_plan import MAX_SIDE, MIN_SIDE, plan_clip
from .clip_report import to_markdown
from .clip_runs import PROMPTS, run_phrases, run_prompts
from .prompt_metrics import PromptRecord
from .report_parts import environment, write_files
from .track_records import TrackRecord

logger = logging.getLogger(__name__)
Record = TypeVar("Record")


@dataclass(frozen=True)
class ClipSettings:
    """Which clips: ``clips`` of them per length; frames for prompts, text_frames for phrases."""

    clips: int = 100
    frames: int = 8
    text_frames: tuple[int, ...] = (8, 24)
    seed: int = 2024
    max_side: int = MAX_SIDE

    def __post_init__(self) -> None:
        if self.clips < 1 or min(self.frames, *self.text_frames) < 2 or self.max_side < MIN_SIDE:
            raise ValueError(
                f"at least 1 clip of 2 frames with sides from {MIN_SIDE} px is needed, got {self}"
            )


def evaluate(tracker: Any, predictor: Any, settings: ClipSettings) -> dict[str, Any]:
    """The report's ``prompts``, ``text`` and ``seconds``.

    tracker: a ``Sam3TrackerPredictor`` with a backbone; predictor: a ``Sam3VideoPredictor``.
    """
    started = time.perf_counter()
    records = _collect(lambda clip: run_prompts(tracker, clip), settings.frames, settings)
    seconds = {"prompts": time.perf_counter() - started}
    text = {}
    for frames in settings.text_frames:
        before = time.perf_counter()
        found = _collect(lambda clip: run_phrases(predictor, clip), frames, settings)
        text[str(frames)] = _text_numbers(found)
        seconds[f"text, {frames} frames"] = time.perf_counter() - before
    seconds["all"] = time.perf_counter() - started
    return {
        "prompts": {"frames": settings.frames, **_prompt_numbers(records)},
        "text": text,
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
    }


def _collect(
    run: Callable[[Clip], list[Record]], frames: int, settings: ClipSettings
) -> list[Record]:
    records: list[Record] = []
    for index in range(settings.clips):
        records += run(plan_clip(settings.seed, index, frames, settings.max_side))
        if (index + 1) % 10 == 0:
            logger.info("%d of %d clips of %d frames", index + 1, settings.clips, frames)
    return records


def _prompt_numbers(records: Sequence[PromptRecord]) -> dict[str, Any]:
    curves = {
        kind: prompt_metrics.j_by_frame([r for r in records if r.prompt == kind])
        for kind in PROMPTS
    }
    return {"rows": prompt_metrics.rows(records), "by_frame": curves}


def _text_numbers(records: Sequence[TrackRecord]) -> dict[str, Any]:
    present = [r for r in records if r.visible.shape[1]]
    return {
        "rows": track_metrics.rows(records),
        "absent": track_metrics.absent_rows(records),
        "by_frame": track_metrics.detection_by_frame(present),
    }


def load(checkpoint: Path, device: str, rules: dict[str, Any]) -> tuple[Any, Any]:
    """(tracker with the detector's backbone, video predictor) of a checkpoint, sharing weights.

    rules: keywords of the video model that differ from the released ones. Raises CheckpointError
    for an unusable file, TypeError for unknown rules, DeviceError for a missing device.
    """
    from ...model.sam3_video_predictor import Sam3VideoPredictor
    from ...model_builder import build_sam3_video_model

    model: Any = build_sam3_video_model(checkpoint, load_from_HF=False, device=device, **rules)
    model.tracker.backbone = model.detector.backbone
    return model.tracker, Sam3VideoPredictor(model=model)


def _rule(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NAME=VALUE with a number, true or false as value"
        ) from error


def _parser() -> argparse.ArgumentParser:
    default = ClipSettings()
    parser = argparse.ArgumentParser(
        prog="evaluate_clips", description="Measure a checkpoint on held-out drawn clips."
    )
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=default.clips, help="of each length")
    parser.add_argument("--frames", type=int, default=default.frames, help="for clicks and masks")
    parser.add_argument(
        "--text-frames",
        type=int,
        nargs="+",
        default=default.text_frames,
        help="for phrases; several lengths are measured one by one",
    )
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--max-side", type=int, default=default.max_side, help="in pixels")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--rule",
        type=_rule,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="keyword of the video model to change, for experiments",
    )
    parser.add_argument(
        "--report",
        type=Path,
        default=Path("docs/reports/tiny_video.md"),
        help="also writes .json beside it",
    )
    return parser


def _command(options: argparse.Namespace) -> str:
    """The command that repeats this report."""
    used: dict[str, Sequence[Any]] = {
        "--checkpoint": [options.checkpoint],
        "--clips": [options.clips],
        "--frames": [options.frames],
        "--text-frames": options.text_frames,
        "--seed": [options.seed],
        "--max-side": [options.max_side],
    }
    words = [word for key, values in used.items() for word in (key, *map(str, values))]
    for name, value in options.rule:
        words += ["--rule", f"{name}={json.dumps(value)}"]
    return shlex.join(["python", "-m", "sam3.train.eval.evaluate_clips", *words])


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = ClipSettings(
        options.clips, options.frames, tuple(options.text_frames), options.seed, options.max_side
    )
    tracker, predictor = load(options.checkpoint, options.device, dict(options.rule))
    report = {
        "command": _command(options),
        "checkpoint": options.checkpoint.name,
        "checkpoint_bytes": options.checkpoint.stat().st_size,
        "resolution": tracker.image_size,
        "clips": settings.clips,
        "seed": settings.seed,
        "max_side": settings.max_side,
        "environment": environment(),
        **evaluate(tracker, predictor, settings),
    }
    markdown = to_markdown(report)
    write_files(options.report, markdown, report)
    logger.info("%s", markdown)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

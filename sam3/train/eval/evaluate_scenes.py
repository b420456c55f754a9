"""Measures a checkpoint on drawn scenes it has never seen and writes a report.

    python -m sam3.train.eval.evaluate_scenes --checkpoint sam3/assets/sam3_tiny.safetensors

Scenes come from a random stream that training never draws, at native sizes of 96 to 2048 px, and
pass through ``Sam3Processor`` like a user's picture. The report holds its own command.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..data.scenes.phrases import VISUAL_TEXT, Query, noisy_box, sample_negative, sample_positive
from ..data.scenes.scene import Scene, draw_scene, random_size, scene_rng
from .detection_metrics import rows
from .matching_records import PairRecord
from .report_parts import environment, write_files
from .scene_report import to_markdown

logger = logging.getLogger(__name__)

# Low enough for AP to see what the usual threshold of 0.5 would hide.
_COLLECT_THRESHOLD = 0.05


@dataclass(frozen=True)
class ScenePlan:
    """A scene and its questions; ``boxes``: a normalised cxcywh prompt or None per query."""

    scene: Scene
    queries: tuple[Query, ...]
    boxes: tuple[np.ndarray | None, ...]


def plan_scene(
    seed: int, index: int, phrases: int = 4, box_share: float = 0.1, max_side: int = 2048
) -> ScenePlan:
    """Held-out scene ``index``: half of its phrases present (if it has objects), half absent."""
    rng = scene_rng(seed, index, held_out=True)
    limit = min(640, max_side) if rng.random() < 0.7 else max_side
    size = random_size(rng, 96, limit, 3.0)
    scene = draw_scene(rng, size)
    height, width = scene.labels.shape
    queries: list[Query] = []
    for number in range(phrases):
        for _ in range(8):
            present = number < phrases // 2 and len(scene.attributes) > 0
            query = (
                sample_positive(scene.attributes, rng, box_probability=box_share)
                if present
                else sample_negative(scene.attributes, rng)
            )
            if all(query.text != other.text for other in queries):
                queries.append(query)
                break
    scale = np.array([width, height, width, height], dtype=np.float32)
    prompts = tuple(
        None if q.box_object is None else noisy_box(_cxcywh(scene.boxes[q.box_object] / scale), rng)
        for q in queries
    )
    return ScenePlan(scene, tuple(queries), prompts)


def _cxcywh(box: np.ndarray) -> np.ndarray:
    return np.concatenate([(box[:2] + box[2:]) / 2, box[2:] - box[:2]])


def run_scene(processor: Any, plan: ScenePlan) -> list[PairRecord]:
    """All queries of one scene through a ``Sam3Processor`` whose threshold is already low."""
    state = processor.set_image(Image.fromarray(plan.scene.image))
    masks = plan.scene.masks
    records = []
    for query, box in zip(plan.queries, plan.boxes, strict=True):
        processor.reset_all_prompts(state)
        if box is not None:
            processor.add_geometric_prompt([float(v) for v in box], True, state)
        if query.text != VISUAL_TEXT:
            processor.set_text_prompt(query.text, state)
        wanted = list(query.targets)
        records.append(_record(state, query, masks[wanted], plan.scene.boxes[wanted]))
    return records


def _record(
    state: dict[str, Any], query: Query, gt_masks: np.ndarray, gt_boxes: np.ndarray
) -> PairRecord:
    masks = state["masks"].cpu().numpy()
    presence = state["grounding_outputs"]["presence_logit_dec"].float().sigmoid()
    return PairRecord.from_masks(
        masks.reshape(len(masks), *gt_masks.shape[1:]),
        state["boxes"].float().cpu().numpy(),
        state["scores"].float().cpu().numpy(),
        float(presence.reshape(-1)[0]),
        gt_masks,
        gt_boxes,
        query.kind,
        query.hard,
    )


def evaluate(
    processor: Any, scenes: int, seed: int, phrases: int = 4, max_side: int = 2048
) -> list[PairRecord]:
    """Records of ``scenes`` held-out scenes; puts the processor's threshold back afterwards."""
    before = processor.confidence_threshold
    processor.set_confidence_threshold(_COLLECT_THRESHOLD)
    records: list[PairRecord] = []
    try:
        for index in range(scenes):
            records += run_scene(processor, plan_scene(seed, index, phrases, max_side=max_side))
            if (index + 1) % 50 == 0:
                logger.info("%d of %d scenes", index + 1, scenes)
    finally:
        processor.set_confidence_threshold(before)
    return records


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Write ``path`` (.md) and its twin with the ending .json, each whole or not at all."""
    write_files(path, to_markdown(report), report)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="evaluate_scenes", description="Measure a checkpoint on held-out drawn scenes."
    )
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=500)
    parser.add_argument("--phrases", type=int, default=4, help="per scene, half of them absent")
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--confidence", type=float, default=0.5, help="score threshold of F1 and mean IoU"
    )
    parser.add_argument(
        "--report",
        type=Path,
        default=Path("docs/reports/tiny_image.md"),
        help="also writes .json beside it",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    from ...model.sam3_image_processor import Sam3Processor
    from ...model_builder import build_sam3_image_model

    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    model = build_sam3_image_model(
        checkpoint_path=str(options.checkpoint), device=options.device, load_from_HF=False
    )
    processor = Sam3Processor(model, device=options.device)
    started = time.perf_counter()
    records = evaluate(processor, options.scenes, options.seed, options.phrases)
    seconds = time.perf_counter() - started
    used = {
        "--checkpoint": options.checkpoint,
        "--scenes": options.scenes,
        "--phrases": options.phrases,
        "--seed": options.seed,
        "--confidence": options.confidence,
    }
    command = " ".join(f"{key} {shlex.quote(str(value))}" for key, value in used.items())
    report = {
        "command": f"python -m sam3.train.eval.evaluate_scenes {command}",
        "checkpoint": options.checkpoint.name,
        "checkpoint_bytes": options.checkpoint.stat().st_size,
        "resolution": processor.resolution,
        "scenes": options.scenes,
        "seed": options.seed,
        "score_threshold": options.confidence,
        "collect_threshold": _COLLECT_THRESHOLD,
        "seconds": round(seconds, 1),
        "environment": environment(),
        "rows": rows(records, options.confidence),
    }
    write_report(options.report, report)
    logger.info("%s", to_markdown(report))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

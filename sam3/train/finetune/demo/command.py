"""The demonstration: fifty pictures of a new colour, a few minutes on a CPU, before and after.

    python -m sam3.train.finetune.demo --out runs/lime

Draws the pictures, fine-tunes the bundled checkpoint as ``python -m sam3 finetune`` does, and
measures the new phrase on held-out pictures and the old phrases on held-out scenes.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ....checkpoint.catalog import ASSETS, CATALOG
from ....errors import Sam3Error
from ....model.sam3_image_processor import Sam3Processor
from ....model_builder import build_sam3_image_model
from ...eval.detection_metrics import average_precision
from ...eval.evaluate_scenes import evaluate
from ...eval.report_parts import cell, environment, table, write_files
from ..recipe import FinetuneRecipe
from ..run import finetune
from ..settings import DataSettings, FinetuneSettings
from .colours import COLOURS
from .pictures import write_export

logger = logging.getLogger(__name__)

BUNDLED = ASSETS / CATALOG["sam3-tiny"].file_names[0]
REPORT = "demo.md"
_SCENE_SEED = 2024  # that of the bundled checkpoint's own report
_NEW = "segm_AP_50"


def demonstrate(
    out: Path,
    colour: str,
    *,
    pictures: int = 50,
    held_out: int = 60,
    scenes: int = 150,
    steps: int | None = None,
    seed: int = 0,
    threads: int | None = None,
) -> dict[str, Any]:
    """Run the demonstration; returns what it also writes to ``demo.json`` and ``demo.md``.

    Args:
        out: folder of everything, must be new.
        colour: one of ``colours.COLOURS``.
        pictures: to learn from; held_out: to measure the new phrase on.
        scenes: to measure the old phrases on.
        steps: of training, None = as the recipe says.
        seed: of drawings and training.
        threads: torch threads.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    export = write_export(out / "export", colour, train=pictures, valid=held_out, seed=seed)
    settings = FinetuneSettings(
        checkpoint=BUNDLED,
        output=out / "finetuned",
        data=DataSettings(data=export, seed=seed),
        device="cpu",
        threads=threads,
    )
    wall, cpu = time.perf_counter(), time.process_time()
    result = finetune(settings, lambda recipe: _adjusted(recipe, steps))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    old = [_old_phrases(path, scenes) for path in (BUNDLED, result.model)]
    report = {
        "phrase": colour,
        "pictures": pictures,
        "held_out": held_out,
        "scenes": scenes,
        "seed": seed,
        "steps": result.steps,
        "seconds": round(wall, 1),
        "cpu_seconds": round(cpu, 1),
        "new_AP50": [result.before[_NEW], result.after[_NEW]],
        "new_box_AP50": [result.before["bbox_AP_50"], result.after["bbox_AP_50"]],
        "old_AP50": old,
        "environment": environment(),
    }
    write_files(out / REPORT, to_markdown(report), report)
    return report


def _adjusted(recipe: FinetuneRecipe, steps: int | None) -> FinetuneRecipe:
    """Turns of any angle: what shows a colour does so upside down, too."""
    turned = replace(recipe, changes=replace(recipe.changes, degrees=180.0))
    return turned if steps is None else turned.with_length(steps=steps)


def _old_phrases(checkpoint: Path, scenes: int) -> float:
    """Mask AP at IoU 0.5 on scenes and phrases of the kind the checkpoint was trained on."""
    model = build_sam3_image_model(checkpoint_path=checkpoint, device="cpu")
    processor = Sam3Processor(model, device="cpu")
    return average_precision(evaluate(processor, scenes, _SCENE_SEED), 0.5)


def to_markdown(report: dict[str, Any]) -> str:
    """The page for a report of :func:`demonstrate`."""
    rows = [
        (f"`{report['phrase']}`, masks", report["new_AP50"]),
        (f"`{report['phrase']}`, boxes", report["new_box_AP50"]),
        (f"old phrases on {report['scenes']} scenes, masks", report["old_AP50"]),
    ]
    numbers = table(
        ["AP@50", "before", "after"], [[name, *map(cell, values)] for name, values in rows]
    )
    where = ", ".join(f"{key} {value}" for key, value in report["environment"].items())
    return f"""# A new colour for sam3-tiny

`{report["phrase"]}` learnt from {report["pictures"]} pictures, measured on {report["held_out"]}
others: {report["steps"]} steps, {report["cpu_seconds"] / 60:.1f} min of processor time
({report["seconds"] / 60:.1f} min by the clock) with measurements; seed {report["seed"]}; {where}.

{numbers}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m sam3.train.finetune.demo",
        description="Teach the bundled model a colour it has never seen.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--colour", choices=tuple(COLOURS), default="lime")
    parser.add_argument("--scenes", type=int, default=150, help="for the old phrases (150)")
    parser.add_argument("--steps", type=int, help="of training (default: the recipe's)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="of the processor")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        report = demonstrate(
            options.out,
            options.colour,
            scenes=options.scenes,
            steps=options.steps,
            seed=options.seed,
            threads=options.threads,
        )
    except Sam3Error as error:
        logger.error("%s", error)
        return 2
    logger.info("%s", to_markdown(report))
    return 0

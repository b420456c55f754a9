"""Times and memory of the image model beside transformers' Sam3Model, same weights, same run.

    python -m benchmarks.image                      # tiny sizes: seconds
    python -m benchmarks.image --size full          # 840 M parameters: minutes on a CPU
    python -m benchmarks.image --size full --checkpoint model.safetensors --device cuda

Measured: loading (each in a fresh process: seconds and peak memory), encoding a picture, a prompt
on it, a second prompt, four phrases, text features of a phrase seen before. The two models take
turns (A B A B); the table shows medians and the ratio ours / peer. bf16 is left out on CPUs that
have no instructions for it, unless ``--precision bf16`` asks for it.

Without ``--checkpoint`` both get the same seeded random weights; times do not depend on them.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from sam3.model.data_misc import FindStage
from sam3.precision import cpu_accelerates_bf16

from . import common
from .load_once import DTYPES, load_ours
from .peer import load_peer, missing_peer, save_peer_folder

ROOT = Path(__file__).resolve().parent.parent
Rows = list[dict[str, Any]]
_log = logging.getLogger("benchmarks.image")


# ---- weights ----------------------------------------------------------------------------------


def prepare_weights(
    size: str, checkpoint: Path | None, folder: Path, with_peer: bool
) -> tuple[Path, Path]:
    """(our file, the peer's folder) with equal weights; only made where they are missing."""
    from sam3.checkpoint import save_checkpoint, to_huggingface

    ours, theirs = folder / "ours.safetensors", folder / "peer"
    if checkpoint is None:
        config = common.config_of(size)
        state = common.random_state(config)
        save_checkpoint(state, ours, config=config.to_dict())
    else:
        ours = checkpoint
        if with_peer:
            model = load_ours(checkpoint, "fp32", torch.device("cpu"))
            config, state = model.config, model.state_dict()
    if with_peer:
        save_peer_folder(config, to_huggingface(state, keep_extras=False), theirs)
    return ours, theirs


def measure_loads(paths: dict[str, Path], precisions: list[str], device: str, repeats: int) -> Rows:
    """Every side and precision, ``repeats`` times in turns, each in a fresh process."""
    rows = []
    for _ in range(repeats):
        for precision in precisions:
            for side, path in paths.items():
                command = [sys.executable, "-m", "benchmarks.load_once"]
                command += [side, str(path), precision, device]
                done = subprocess.run(
                    command, cwd=ROOT, capture_output=True, text=True, check=False
                )
                if done.returncode:
                    raise SystemExit(f"loading {path} failed:\n{done.stderr[-2000:]}")
                rows.append(json.loads(done.stdout.splitlines()[-1]))
                _log.info("load %s %s: %.2f s", side, precision, rows[-1]["seconds"])
    return rows


# ---- the two models behind one face -----------------------------------------------------------


class Ours:
    """Our model: picture features are kept in ``self.features``."""

    def __init__(self, path: Path, precision: str, device: torch.device) -> None:
        self.model = load_ours(path, precision, device)
        self.device = device
        side = common.random_pixels(self.model.config)
        self.pixels = side.to(device, self.model.dtype)
        self.features: dict[str, Any] = {}

    def encode(self) -> None:
        """Picture -> pyramid."""
        self.features = self.model.backbone.forward_image(self.pixels)

    def text(self, phrases: list[str]) -> dict[str, Any]:
        """Phrases -> features; cached per phrase."""
        return self.model.backbone.forward_text(phrases, device=self.device)

    def forget_text(self) -> None:
        """Empty the cache of text features."""
        encoder = self.model.backbone.language_backbone
        encoder._cache = type(encoder._cache)(encoder._cache.capacity)

    def prompt(self, phrases: list[str], fresh: bool = True) -> dict[str, Any]:
        """Detect ``phrases`` on the encoded picture; ``fresh``: as if never seen."""
        if fresh:
            self.forget_text()
        ids = torch.arange(len(phrases), device=self.device)
        stage = FindStage.for_texts(img_ids=torch.zeros_like(ids), text_ids=ids)
        features = self.features | self.text(phrases)
        dummy = self.model._get_dummy_prompt(len(phrases))
        return self.model.forward_grounding(features, stage, None, dummy)


class Peer:
    """transformers' model with the same methods; several phrases are several calls."""

    def __init__(self, path: Path, precision: str, device: torch.device, ours: Ours) -> None:
        self.model = load_peer(path, device, DTYPES[precision])
        self.device = device
        self.pixels = ours.pixels.to(DTYPES[precision])
        self.encoder = ours.model.backbone.language_backbone
        self.features: Any = None

    def encode(self) -> None:
        """Picture -> pyramid."""
        self.features = self.model.get_vision_features(pixel_values=self.pixels)

    def prompt(self, phrases: list[str], fresh: bool = True) -> list[Any]:
        """Detect ``phrases`` on the encoded picture, one call each. It has no text cache."""
        context = self.encoder.context_length
        tokens = self.encoder.tokenizer(phrases, context_length=context).to(self.device)
        return [
            self.model(
                vision_embeds=self.features,
                input_ids=row[None],
                attention_mask=(row[None] != 0).long(),
            )
            for row in tokens
        ]


# ---- measuring --------------------------------------------------------------------------------


def steps_of(side: Ours | Peer) -> dict[str, common.Action]:
    """What is timed, by its name in the table."""
    first, second = list(common.PROMPTS[:1]), list(common.PROMPTS[1:2])
    four = list(common.PROMPTS[1:5])

    def both() -> None:
        side.encode()
        side.prompt(first)

    return {
        "picture": side.encode,
        "prompt": lambda: side.prompt(first),
        "picture + prompt": both,
        "second prompt, same picture": lambda: side.prompt(second),
        "same phrase again": lambda: side.prompt(second, fresh=False),
        "four phrases": lambda: side.prompt(four),
    }


@torch.inference_mode()
def measure_steps(
    paths: dict[str, Path], precision: str, device: torch.device, repeats: int
) -> Rows:
    """Times of every step, the sides in turns."""
    ours = Ours(paths["ours"], precision, device)
    sides: dict[str, Ours | Peer] = {"ours": ours}
    if "peer" in paths:
        sides["peer"] = Peer(paths["peer"], precision, device, ours)
    for side in sides.values():
        side.encode()
    steps = {name: steps_of(side) for name, side in sides.items()}
    rows = []
    for step in steps["ours"]:
        actions = {name: steps[name][step] for name in sides}
        # encoding above has warmed the trunk up: a minute saved on a CPU
        warmup = 0 if device.type == "cpu" and "picture" in step else 1
        times = common.time_alternating(actions, device, repeats, warmup)
        rows.append(
            {"step": step, "precision": precision, "device": str(device)}
            | {name: common.summary(t) for name, t in times.items()}
        )
        _log.info(
            "%s %s: %s",
            precision,
            step,
            {k: v["median_ms"] for k, v in rows[-1].items() if isinstance(v, dict)},
        )
    cached = list(common.PROMPTS[:1])
    ours.text(cached)
    times = common.time_repeatedly(lambda: ours.text(cached), device, max(repeats, 5))
    rows.append(
        {"step": "text features, phrase seen before", "precision": precision}
        | {"device": str(device), "ours": common.summary(times)}
    )
    return rows


# ---- report -----------------------------------------------------------------------------------


def load_table(rows: Rows) -> str:
    """Loads: medians per side and precision."""
    groups: dict[tuple[str, str], Rows] = {}
    for row in rows:
        groups.setdefault((row["precision"], row["side"]), []).append(row)
    lines = []
    for (precision, side), group in groups.items():
        weights = group[0]["weights_bytes"]
        seconds = sorted(row["seconds"] for row in group)[len(group) // 2]
        peaks = [
            None
            if group[0][key] is None
            else sorted(row[key] for row in group)[len(group) // 2] / weights
            for key in ("peak_load_bytes", "peak_touched_bytes")
        ]
        lines.append((precision, side, seconds, weights / 2**20, *peaks))
    header = ("precision", "side", "load s", "weights MiB", "peak / weights, load")
    return common.table((*header, "peak / weights, all weights read once"), lines)


def step_table(rows: Rows) -> str:
    """Steps: medians in ms and the ratio ours / peer."""
    lines = []
    for row in rows:
        ours, theirs = row["ours"]["median_ms"], row.get("peer", {}).get("median_ms")
        ratio = ours / theirs if theirs else None
        lines.append((row["device"], row["precision"], row["step"], ours, theirs, ratio))
    return common.table(("device", "precision", "step", "ours ms", "peer ms", "ratio"), lines)


def second_prompt_share(rows: Rows) -> str:
    """What a second prompt costs against picture + prompt, per precision."""
    found = {(r["precision"], r["step"]): r["ours"]["median_ms"] for r in rows}
    lines = []
    for precision in dict.fromkeys(r["precision"] for r in rows):
        share = (
            found[precision, "second prompt, same picture"] / found[precision, "picture + prompt"]
        )
        lines.append(
            f"{precision}: a second prompt takes {100 * share:.1f} % of picture + prompt"
            " (aim at full size: 10 %)."
        )
    return "\n".join(lines)


def report(data: dict[str, Any]) -> str:
    """The whole result as markdown."""
    parts = [
        f"# Image model, {data['size']} size, {data['device']}",
        f"`{data['command']}`, weights: {data['weights']}, {data['repeats']} repeats, medians.",
        *data["notes"],
        common.machine_table(data["machine"]),
        load_table(data["loads"]),
        step_table(data["steps"]),
        second_prompt_share(data["steps"]),
    ]
    return "\n\n".join(part for part in parts if part)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.image",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--size", choices=("full", "tiny"), default="tiny")
    parser.add_argument("--device", default=None, help="cpu, cuda ...; default: CUDA if present")
    parser.add_argument(
        "--precision", nargs="+", choices=list(DTYPES), help="default: fp32, and bf16 if fast"
    )
    parser.add_argument("--repeats", type=int, default=3, help="measured runs of every step")
    parser.add_argument("--load-repeats", type=int, default=2, help="measured loads")
    parser.add_argument("--checkpoint", type=Path, help="weights; default: random ones")
    parser.add_argument("--threads", type=int, help="CPU threads of torch")
    parser.add_argument("--no-peer", action="store_true", help="leave transformers out")
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "benchmarks")
    options = parser.parse_args(argv)
    if options.repeats < 1 or options.load_repeats < 1:
        parser.error("--repeats and --load-repeats must be at least 1")
    if options.checkpoint is not None and not options.checkpoint.is_file():
        parser.error(f"--checkpoint {options.checkpoint}: there is no such file")
    return options


def main(argv: list[str] | None = None) -> int:
    """Measure, print the table, write it; 0 when all was measured."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = parse(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    notes = []
    precisions = options.precision
    if precisions is None:
        fast = device.type == "cuda" or cpu_accelerates_bf16()
        precisions = ["fp32", "bf16"] if fast else ["fp32"]
        if not fast:
            notes.append("bf16 not measured: this CPU has no bfloat16 instructions.")
    reason = "left out by --no-peer" if options.no_peer else missing_peer()
    if reason:
        notes.append(f"Peer not measured: {reason}.")
    with tempfile.TemporaryDirectory(prefix="sam3-benchmark-") as folder:
        ours, theirs = prepare_weights(
            options.size, options.checkpoint, Path(folder), with_peer=reason is None
        )
        paths = {"ours": ours} if reason else {"ours": ours, "peer": theirs}
        loads = measure_loads(paths, precisions, str(device), options.load_repeats)
        steps = [
            row for p in precisions for row in measure_steps(paths, p, device, options.repeats)
        ]
    data = {
        "command": "python -m benchmarks.image " + " ".join(argv or sys.argv[1:]),
        "size": options.size,
        "device": str(device),
        "weights": options.checkpoint.name if options.checkpoint else "random, seed 0",
        "repeats": options.repeats,
        "notes": notes,
        "machine": common.machine(),
        "loads": loads,
        "steps": steps,
    }
    text = report(data)
    files = common.write_results(options.out, f"image-{options.size}-{device.type}", data, text)
    print(text)
    print("written:", ", ".join(str(f) for f in files))
    return 0


if __name__ == "__main__":
    sys.exit(main())

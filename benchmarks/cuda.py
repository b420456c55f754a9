"""Everything worth knowing about the image model on a CUDA machine, in one command.

    python -m benchmarks.cuda                      # under 9 minutes, random weights
    python -m benchmarks.cuda --checkpoint sam3.pt # published weights: parity means most then
    python -m benchmarks.cuda --dry-run            # the same code on the CPU at tiny size

Parity of bf16 and fp16 with float32 per stage, Triton kernels against their CPU twins, eager and
compiled times per stage against computed floors, peak memory, host synchronisations, CUDA graphs.
Writes JSON and a markdown table. No number of it exists until it has run on a CUDA machine; a dry
run proves that the code runs, its times mean nothing.

Exit code: 0 done, 1 a parity check failed, 2 no CUDA device.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from . import common
from .cuda_parity import compare_kernels, compare_precisions
from .cuda_speed import (
    FLOORS_SOURCE,
    compile_parts,
    first_call_seconds,
    grounding_as_cuda_graph,
    host_synchronisations,
    measure_prompts,
    measure_stages,
    peak_memory,
    restore_parts,
)
from .load_once import load_ours
from .stages import Staged

ROOT = Path(__file__).resolve().parent.parent
AIMS = {
    "picture + prompt ms": 15.0,
    "each further phrase ms": 1.5,
    "peak MiB": 2.6 * 1000**3 / 2**20,
}
DRY_RUN = "DRY RUN on the CPU at tiny size: the code runs; every time below is meaningless."
UNTRAINED = (
    "Random weights: masks and boxes are not judged, since untrained mask logits hover around zero;"
    " give --checkpoint for that."
)
_log = logging.getLogger("benchmarks.cuda")


class Session:
    """One run: options, the clock, and what was found so far."""

    def __init__(self, device: torch.device, path: Path, options: argparse.Namespace) -> None:
        self.device = device
        self.path = path
        self.repeats = options.repeats
        self.dry = options.dry_run
        self.trained = options.checkpoint is not None
        self.deadline = time.monotonic() + options.seconds
        self.found: dict[str, Any] = {
            "checks": [],
            "kernels": [],
            "stages": [],
            "memory": {},
            "loads": {},
            "notes": [],
        }

    def attempt(self, title: str, needs_seconds: float, action: Callable[[], None]) -> None:
        """Run one part; a part that fails or has no time left becomes a note, the rest goes on."""
        left = self.deadline - time.monotonic()
        if left < needs_seconds:
            self.found["notes"].append(f"{title}: left out, {left:.0f} s left")
            return
        _log.info("%s (%.0f s left)", title, left)
        began = time.monotonic()
        try:
            action()
        except Exception as error:  # any part may lack something on this machine
            text = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            self.found["notes"].append(f"{title}: FAILED: {text}")
            self.found["checks"].append(
                {"check": f"{title} runs", "value": text, "limit": "no error", "passed": False}
            )
            _log.warning("%s failed", title, exc_info=True)
        _log.info("%s took %.1f s", title, time.monotonic() - began)

    def load(self, precision: str) -> Any:
        """A fresh model; its seconds are kept."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        began = time.monotonic()
        model = load_ours(self.path, precision, self.device)
        common.synchronise(self.device)
        self.found["loads"][precision] = time.monotonic() - began
        return model


def run_kernels(session: Session) -> None:
    """Triton and CUDA mask functions against the CPU."""
    sizes, side = ((8, 16), 32) if session.dry else ((16, 200, 1000), 288)
    checks, times = compare_kernels(session.device, sizes, side)
    session.found["checks"] += checks
    session.found["kernels"] += times


def run_precisions(session: Session, reference: Staged, precision: str) -> None:
    """Parity of one half precision, its eager times, memory, synchronisations."""
    model = session.load(precision)
    pixels = reference.pixels.float()
    with_box = Staged(model, pixels, common.PROMPTS[:2], with_box=True)
    session.found["checks"] += compare_precisions(reference, with_box, precision, session.trained)
    del with_box
    eager(session, model, pixels, precision)


def eager(session: Session, model: Any, pixels: torch.Tensor, precision: str) -> None:
    """Eager times of ``model``, its memory and its synchronisations."""
    staged = Staged(model, pixels, common.PROMPTS[:1])
    rows = measure_stages(staged, precision, "eager", session.repeats)
    rows += measure_prompts(model, pixels, precision, "eager", session.repeats)
    session.found["stages"] += rows
    session.found["memory"][precision] = peak_memory(staged)
    waits = host_synchronisations(staged)
    if waits is not None:
        places = ", ".join(sorted(set(waits))) or "none"
        session.found["notes"].append(f"{precision} eager: {len(waits)} host waits: {places}")


def run_cuda_graph(session: Session, precision: str, pixels: torch.Tensor) -> None:
    """The grounding part as one hand-made CUDA graph."""
    staged = Staged(session.load(precision), pixels, common.PROMPTS[:1])
    found = grounding_as_cuda_graph(staged, session.repeats)
    if found is None:
        session.found["notes"].append("CUDA graph of the grounding part: needs CUDA")
        return
    row = {"stage": "prompt on known picture", "precision": precision, "kind": "CUDA graph"}
    session.found["stages"].append(row | found | {"floor_ms": 0.56, "of_floor": None})


def run_compiled(session: Session, precision: str, pixels: torch.Tensor, mode: str) -> None:
    """Compiled times, and parity of compiled with eager in the same precision."""
    model = session.load(precision)
    plain = Staged(model, pixels, common.PROMPTS[:1])
    backend = "eager" if session.dry else "inductor"
    kind = f"compiled {mode}" + (" (traced only)" if session.dry else "")
    parts = compile_parts(model, mode, backend)
    try:
        seconds = first_call_seconds(plain)
        session.found["notes"].append(
            f"{kind}: {', '.join(parts)}; first call {seconds:.1f} s with compilation"
        )
        staged = Staged(model, pixels, common.PROMPTS[:1])
        session.found["checks"] += compare_precisions(
            plain, staged, f"{precision} {kind}", session.trained
        )
        session.found["stages"] += measure_stages(staged, precision, kind, session.repeats)
        more = measure_prompts(model, pixels, precision, kind, session.repeats)
        session.found["stages"] += more
    finally:
        restore_parts(model)
        torch.compiler.reset()


@torch.inference_mode()
def run_all(session: Session) -> dict[str, Any]:
    """Every part in the order of its worth."""
    session.attempt("kernels", 10, lambda: run_kernels(session))
    model = session.load("fp32")
    pixels = common.random_pixels(model.config)
    reference = Staged(model, pixels, common.PROMPTS[:2], with_box=True)
    session.attempt("fp32 eager", 20, lambda: eager(session, model, pixels, "fp32"))
    # float16 is not a choice on the CPU
    halves = ("bf16",) if session.device.type == "cpu" else ("bf16", "fp16")
    for precision in halves:
        session.attempt(
            f"{precision} parity and eager times",
            30,
            lambda p=precision: run_precisions(session, reference, p),
        )
    best = "fp32" if session.dry else "bf16"
    session.attempt("CUDA graph", 20, lambda: run_cuda_graph(session, best, pixels))
    modes = {"default": 10} if session.dry else {"default": 120, "reduce-overhead": 150}
    for mode, seconds in modes.items():
        session.attempt(
            f"compiled {mode}",
            seconds,
            lambda m=mode: run_compiled(session, best, pixels, m),
        )
    return session.found


# ---- report -----------------------------------------------------------------------------------


def aims(found: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The best measured number for each aim of the project on an H200 in half precision."""
    half = [r for r in found["stages"] if r["precision"] in ("bf16", "fp16")]

    def best(stage: str) -> float | None:
        return min((r["median_ms"] for r in half if r["stage"] == stage), default=None)

    peaks = [m["peak_mib"] for p, m in found["memory"].items() if m and p != "fp32"]
    values = {
        "picture + prompt ms": best("picture + prompt"),
        "each further phrase ms": best("each further phrase in a batch"),
        "peak MiB": min(peaks, default=None),
    }
    return [(name, values[name], f"<= {limit:.4g}") for name, limit in AIMS.items()]


def report(data: dict[str, Any]) -> str:
    """The whole result as markdown."""
    found = data["found"]
    checks = [
        (
            c["check"],
            f"{c['value']:.5f}" if isinstance(c["value"], float) else c["value"],
            c["limit"],
            "not judged" if c["passed"] is None else c["passed"],
        )
        for c in found["checks"]
    ]
    stages = [
        (r["precision"], r["kind"], r["stage"], r["median_ms"], r["floor_ms"], r["of_floor"])
        for r in found["stages"]
    ]
    memory = [(p, *m.values()) for p, m in found["memory"].items() if m]
    parts = [
        "# Image model on CUDA",
        DRY_RUN if data["dry_run"] else "",
        f"`{data['command']}`, weights: {data['weights']}, {data['seconds']:.0f} s in all.",
        common.machine_table(data["machine"]),
        "" if data["dry_run"] else common.table(("aim (H200, half)", "best", "limit"), aims(found)),
        common.table(
            ("precision", "kind", "stage", "median ms", "floor ms", "x floor"),
            stages,
        ),
        FLOORS_SOURCE,
        common.table(("check", "value", "limit", "passed"), checks),
        "" if data["trained"] else UNTRAINED,
        common.table(("kernel", "device", "ms"), [tuple(k.values()) for k in found["kernels"]]),
        common.table(("precision", "weights MiB", "peak MiB", "reserved MiB"), memory)
        if memory
        else "",
        common.table(("load", "s"), list(found["loads"].items())),
        "\n".join(f"- {note}" for note in found["notes"]),
    ]
    return "\n\n".join(part for part in parts if part)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cuda",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--dry-run", action="store_true", help="CPU, tiny sizes")
    parser.add_argument("--checkpoint", type=Path, help="weights; default: random ones")
    parser.add_argument("--repeats", type=int, help="measured runs; default 20, dry run 1")
    parser.add_argument("--seconds", type=float, default=480, help="start no part after this")
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "benchmarks")
    options = parser.parse_args(argv)
    options.repeats = options.repeats or (1 if options.dry_run else 20)
    if options.checkpoint is not None and not options.checkpoint.is_file():
        parser.error(f"--checkpoint {options.checkpoint}: there is no such file")
    return options


def main(argv: list[str] | None = None) -> int:
    """Run everything, print and write the result."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = parse(argv)
    if not options.dry_run and not torch.cuda.is_available():
        _log.error("no CUDA device here; --dry-run runs the same code on the CPU at tiny size")
        return 2
    if options.dry_run:
        os.environ.setdefault("TRITON_INTERPRET", "1")
    device = torch.device("cpu" if options.dry_run else "cuda")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sam3-benchmark-") as folder:
        path = options.checkpoint or _random_weights(Path(folder), options.dry_run)
        found = run_all(Session(device, path, options))
    data = {
        "command": "python -m benchmarks.cuda " + " ".join(argv or sys.argv[1:]),
        "dry_run": options.dry_run,
        "weights": options.checkpoint.name if options.checkpoint else "random, seed 0",
        "trained": options.checkpoint is not None,
        "seconds": time.monotonic() - began,
        "machine": common.machine(),
        "found": found,
    }
    text = report(data)
    name = "cuda-dry-run" if options.dry_run else "cuda"
    files = common.write_results(options.out, name, data, text)
    print(text)
    print("written:", ", ".join(str(f) for f in files))
    failed = [c["check"] for c in found["checks"] if c["passed"] is False]
    if failed:
        _log.error("failed: %s", "; ".join(failed))
    return 1 if failed else 0


def _random_weights(folder: Path, dry: bool) -> Path:
    from sam3.checkpoint import save_checkpoint

    config = common.config_of("tiny" if dry else "full")
    return save_checkpoint(
        common.random_state(config), folder / "weights.safetensors", config=config.to_dict()
    )


if __name__ == "__main__":
    sys.exit(main())

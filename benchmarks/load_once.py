"""One load in a process of its own: seconds, memory, weights. A part of ``benchmarks.image``.

    python -m benchmarks.load_once SIDE PATH PRECISION DEVICE

SIDE is "ours" or "peer". Prints one JSON object. Memory is the peak resident set of the process
less what it held before the load, after every weight was read once (a mapped file counts only
when it is touched).
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from .common import synchronise
from .peer import load_peer

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def resident_bytes(field: str) -> int | None:
    """``VmRSS`` (now), ``VmHWM`` (peak) ... of this process; None where the system does not say."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def load_ours(path: Path, precision: str, device: torch.device) -> torch.nn.Module:
    """Our model from a checkpoint of any layout."""
    from sam3.model_builder import build_sam3_image_model

    return build_sam3_image_model(checkpoint_path=path, device=device, precision=precision)


def measure(side: str, path: Path, precision: str, device: torch.device) -> dict[str, Any]:
    """Load once and report."""
    import sam3.model_builder  # noqa: F401  (imports are not part of the load)

    if side == "peer":
        from transformers import Sam3Model  # noqa: F401
    if device.type == "cuda":
        torch.zeros(1, device=device)
    before = resident_bytes("VmRSS")
    began = time.perf_counter()
    if side == "ours":
        model = load_ours(path, precision, device)
    else:
        model = load_peer(path, device, DTYPES[precision])
    synchronise(device)
    seconds = time.perf_counter() - began
    after = resident_bytes("VmHWM")
    kept = sum(p.nbytes for p in model.parameters())
    with torch.inference_mode():
        for parameter in model.parameters():
            parameter.max()
    synchronise(device)
    peak = resident_bytes("VmHWM")
    known = before is not None and after is not None and peak is not None
    return {
        "side": side,
        "precision": precision,
        "device": str(device),
        "seconds": seconds,
        "weights_bytes": kept,
        "peak_load_bytes": after - before if known else None,
        "peak_touched_bytes": peak - before if known else None,
    }


if __name__ == "__main__":
    side, path, precision, device = sys.argv[1:]
    print(json.dumps(measure(side, Path(path), precision, torch.device(device))))

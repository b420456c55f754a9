"""Times per stage, eager and compiled, peak memory and host synchronisations of one model."""

from __future__ import annotations

import time
import warnings
from typing import Any

import torch
from torch import Tensor

from sam3.perflib.compile import compile_wrapper

from .common import PROMPTS, summary, time_repeatedly
from .stages import Staged

Rows = list[dict[str, Any]]

FLOORS_MS = {
    "trunk": 6.83,
    "neck": 0.27,
    "text": 0.14,
    "prompt encoding": 0.0,
    "fusion encoder": 0.32,
    "decoder": 0.026,
    "segmentation head": 0.18,
    "prompt on known picture": 0.56,
    "picture + prompt": 7.66,
}
"""Least possible milliseconds of each stage on an H200 in bf16, see FLOORS_SOURCE."""

FLOORS_SOURCE = (
    "Floors: operations counted with torch's FlopCounterMode on a forward pass of the released"
    " sizes (1 x 1008 x 1008, 32 text tokens, 1 MAC = 2 FLOP; 6.05 TFLOP in all: ViT linears 4.61,"
    " ViT attention 0.783, neck 0.215, text 0.019, fusion 0.256, decoder 0.020, masks 0.143)"
    " divided by 790 TFLOP/s, the dense bf16 matrix rate measured on one H200; the text floor is"
    " the reading of its 707 MB of weights at 4.8 TB/s. Computed, not measured; on an H100 the"
    " matrix rate is about the same, memory is slower."
)


def measure_stages(staged: Staged, precision: str, kind: str, repeats: int) -> Rows:
    """Milliseconds of every stage, with its floor and how many times the floor that is."""
    rows = []
    for name, action in staged.actions().items():
        found = summary(time_repeatedly(action, staged.model.device, repeats, warmup=2))
        rows.append(_row(name, precision, kind, found))
    return rows


def measure_prompts(model: Any, pixels: Tensor, precision: str, kind: str, repeats: int) -> Rows:
    """A further prompt: four phrases in one pass less one phrase, by three."""
    times = {}
    for n in (1, 4):
        staged = Staged(model, pixels, PROMPTS[:n])
        times[n] = time_repeatedly(staged.prompt_again, model.device, repeats, warmup=2)
    one, four = summary(times[1]), summary(times[4])
    each = (four["median_ms"] - one["median_ms"]) / 3
    return [
        _row("four phrases, known picture", precision, kind, four),
        _row("each further phrase in a batch", precision, kind, {"median_ms": each}),
    ]


def _row(name: str, precision: str, kind: str, found: dict[str, float]) -> dict[str, Any]:
    floor = FLOORS_MS.get(name)
    times = found["median_ms"] / floor if floor else None
    return {
        "stage": name,
        "precision": precision,
        "kind": kind,
        **found,
        "floor_ms": floor,
        "of_floor": times,
    }


def peak_memory(staged: Staged) -> dict[str, float] | None:
    """MiB held by the weights and the peak of picture + prompt; None without CUDA."""
    device = staged.model.device
    if device.type != "cuda":
        return None
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    staged.whole()
    torch.cuda.synchronize(device)
    weights = sum(t.nbytes for t in (*staged.model.parameters(), *staged.model.buffers()))
    return {
        "weights_mib": weights / 2**20,
        "peak_mib": torch.cuda.max_memory_allocated(device) / 2**20,
        "reserved_mib": torch.cuda.max_memory_reserved(device) / 2**20,
    }


def host_synchronisations(staged: Staged) -> list[str] | None:
    """Where the host waited for the GPU during one picture + prompt; None without CUDA."""
    if staged.model.device.type != "cuda":
        return None
    staged.whole()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            staged.whole()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return [
        f"{'/'.join(w.filename.replace(chr(92), '/').split('/')[-3:])}:{w.lineno}"
        for w in caught
        if "synchroniz" in str(w.message)
    ]


def compile_parts(model: Any, mode: str, backend: str) -> list[str]:
    """Compile the trunk, the fusion encoder and the pixel decoder of ``model`` in place."""
    parts = {
        "trunk": model.backbone.vision_backbone.trunk,
        "fusion encoder": model.transformer.encoder,
        "pixel decoder": model.segmentation_head.pixel_decoder,
    }
    for module in parts.values():
        module.forward = compile_wrapper(
            module.forward, mode=mode, fullgraph=True, dynamic=False, backend=backend
        )
    return list(parts)


def restore_parts(model: Any) -> None:
    """Undo :func:`compile_parts`."""
    for module in model.modules():
        module.__dict__.pop("forward", None)


def first_call_seconds(staged: Staged) -> float:
    """Seconds of the first picture + prompt, the compilation included."""
    began = time.perf_counter()
    staged.whole()
    if staged.model.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def grounding_as_cuda_graph(staged: Staged, repeats: int) -> dict[str, float] | None:
    """The grounding part captured by hand as one CUDA graph and replayed; None without CUDA.

    Raises RuntimeError where something in it cannot be captured (a host synchronisation, say).
    """
    device = staged.model.device
    if device.type != "cuda":
        return None
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            staged.prompt_again()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        staged.prompt_again()
    return summary(time_repeatedly(graph.replay, device, repeats, warmup=2))

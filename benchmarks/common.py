"""What the benchmarks share: timing, the machine's description, random weights, result files."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sam3.config import NeckConfig, Sam3ImageConfig, presets

from .peer import fill_randomly

PACKAGES = ("torch", "torchvision", "transformers", "triton", "numpy", "safetensors")
CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
PROMPTS = ("red circle", "the quick brown fox", "a yellow star", "blue triangle", "white square")
Action = Callable[[], Any]


def config_of(size: str) -> Sam3ImageConfig:
    """The released model for "full"; for "tiny" small widths and the released pyramid levels."""
    if size == "full":
        return presets.SAM3_IMAGE
    return replace(presets.SAM3_TINY, name="benchmark-tiny", neck=NeckConfig())


# ---- timing -----------------------------------------------------------------------------------


def synchronise(device: torch.device) -> None:
    """Wait until ``device`` has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def time_once(action: Action, device: torch.device, processor: bool = False) -> float:
    """Milliseconds of one call, by CUDA events on a GPU and by the clock elsewhere.

    processor: off a GPU, processor time instead, which leaves out waiting for other programs.
    """
    synchronise(device)
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        action()
        end.record()
        end.synchronize()
        return start.elapsed_time(end)
    clock = time.process_time if processor else time.perf_counter
    began = clock()
    action()
    return (clock() - began) * 1e3


def time_repeatedly(
    action: Action, device: torch.device, repeats: int, warmup: int = 1
) -> list[float]:
    """Milliseconds of ``repeats`` calls after ``warmup`` unmeasured ones."""
    for _ in range(warmup):
        action()
    return [time_once(action, device) for _ in range(repeats)]


def time_alternating(
    actions: dict[str, Action],
    device: torch.device,
    repeats: int,
    warmup: int = 1,
    processor: bool = False,
) -> dict[str, list[float]]:
    """Milliseconds per name, measured in turns (A B A B), so that drift meets all alike."""
    for _ in range(warmup):
        for action in actions.values():
            action()
    times: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(repeats):
        for name, action in actions.items():
            times[name].append(time_once(action, device, processor))
    return times


def summary(times: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest of some times, with their number."""
    return {
        "median_ms": statistics.median(times),
        "min_ms": min(times),
        "max_ms": max(times),
        "runs": len(times),
    }


# ---- the machine ------------------------------------------------------------------------------


def machine() -> dict[str, Any]:
    """Processor, cores, vector units, GPU and versions: without them a time says little."""
    name, flags = _cpu()
    found: dict[str, Any] = {
        "cpu": name,
        "cores": os.cpu_count(),
        "flags": [flag for flag in CPU_FLAGS if flag in flags],
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load_average": _load_average(),
        "gpu": None,
        "packages": _versions(PACKAGES),
    }
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found["gpu"] = {
            "name": properties.name,
            "memory_gib": round(properties.total_memory / 2**30, 1),
            "capability": f"{properties.major}.{properties.minor}",
            "cuda": torch.version.cuda,
        }
    return found


def _cpu() -> tuple[str, set[str]]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown", set()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    values = {key.strip(): value.strip() for key, value in fields.items()}
    return values.get("model name", "unknown"), set(values.get("flags", "").split())


def _load_average() -> float | None:
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _versions(names: Iterable[str]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


# ---- weights and inputs -----------------------------------------------------------------------


def random_state(config: Sam3ImageConfig, seed: int = 0) -> dict[str, Tensor]:
    """Seeded weights of the image model by name, with the computed tables."""
    from sam3.model_builder import assemble_image_model, materialize_buffers

    with torch.device("meta"):
        model = assemble_image_model(config)
    model.to_empty(device="cpu")
    materialize_buffers(model)
    for module in model.modules():
        if hasattr(module, "reset_computed_buffers"):
            module.reset_computed_buffers("cpu")
    state = model.state_dict()
    with torch.no_grad():
        fill_randomly({k: v for k, v in state.items() if not k.endswith("freqs_cis")}, seed)
    return state


def random_pixels(config: Sam3ImageConfig, seed: int = 0) -> Tensor:
    """A smooth random picture, as the model takes it: [1, 3, S, S] in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 8, 8, generator=generator) * 2 - 1
    side = config.vision.img_size
    return torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic").clamp(-1, 1)


# ---- results ----------------------------------------------------------------------------------


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A markdown table; floats get three significant digits, None a dash."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def machine_table(found: dict[str, Any]) -> str:
    """The machine's description as a markdown table."""
    rows = [(key, value) for key, value in found.items() if key not in ("packages", "gpu")]
    rows += [("gpu", found["gpu"]["name"] if found["gpu"] else "none")]
    rows += [(name, number or "not installed") for name, number in found["packages"].items()]
    return table(
        ("machine", ""), [(k, ", ".join(v) if isinstance(v, list) else v) for k, v in rows]
    )


def write_results(folder: Path, name: str, data: dict[str, Any], text: str) -> list[Path]:
    """Write ``name.json`` and ``name.md`` into ``folder``, each complete or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for suffix, content in ((".json", json.dumps(data, indent=1)), (".md", text)):
        target = folder / f"{name}{suffix}"
        temporary = target.with_suffix(suffix + ".tmp")
        temporary.write_text(content + "\n", encoding="utf-8")
        os.replace(temporary, target)
        written.append(target)
    return written

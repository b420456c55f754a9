"""Every library module imports on a bare machine: no ComfyUI, Triton, CUDA or network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

IMPORT_ALL = """
import importlib, json, pathlib, socket, sys

BLOCKED = ("folder_paths", "comfy", "comfy_api", "triton", "nodes", "server")

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ImportError(f"{name} is blocked in this test", name=name)
        return None

def no_network(*args, **kwargs):
    raise OSError("network is blocked in this test")

# PyTorch looks for Triton by itself, so it is imported before the door is shut.
import torch
import torchvision
for name in [n for n in sys.modules if n.split(".")[0] in BLOCKED]:
    del sys.modules[name]
sys.meta_path.insert(0, Blocker())
socket.socket.connect = no_network
before = (list(sys.path), torch.backends.cuda.matmul.allow_tf32, torch.get_num_threads())

failed = {}
modules = []
for path in sorted(pathlib.Path("sam3").rglob("*.py")):
    parts = list(path.with_suffix("").parts)
    if parts[-1] == "__main__":
        continue
    if parts[-1] == "__init__":
        parts.pop()
    name = ".".join(parts)
    modules.append(name)
    try:
        importlib.import_module(name)
    except BaseException as error:
        failed[name] = f"{type(error).__name__}: {error}"
after = (list(sys.path), torch.backends.cuda.matmul.allow_tf32, torch.get_num_threads())
print(json.dumps({
    "failed": failed, "modules": modules, "changed": before != after,
    "cuda": torch.cuda.is_initialized(),
}))
"""

LIGHT_IMPORT = """
import json, sys
import sam3
heavy = [m for m in ("torch", "torchvision", "numpy", "PIL", "timm") if m in sys.modules]
print(json.dumps(heavy))
"""


def run(code: str) -> object:
    """Run ``code`` in a fresh interpreter at the repository root and read its JSON line."""
    environment = dict(os.environ, CUDA_VISIBLE_DEVICES="", PYTHONPATH=str(ROOT))
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.strip().splitlines()[-1])


def test_every_module_imports_without_host_triton_cuda_or_network() -> None:
    answer = run(IMPORT_ALL)
    assert isinstance(answer, dict)
    assert "sam3.errors" in answer["modules"]
    assert not answer["failed"], json.dumps(answer["failed"], indent=1)
    assert not answer["changed"], "an import changed sys.path, TF32 or the number of threads"
    assert not answer["cuda"], "an import initialised CUDA"


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert run(LIGHT_IMPORT) == []

"""Registration: what ComfyUI reads of the pack, and what importing it costs."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

IMPORT_PACK = """
import importlib.util, json, socket, sys, time, types

def no_network(*args, **kwargs):
    raise OSError("network is blocked in this test")

class NoTriton:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "triton":
            raise ImportError("triton is blocked in this test", name=name)

import torch
for name in [n for n in sys.modules if n.split(".")[0] == "triton"]:
    del sys.modules[name]
sys.meta_path.insert(0, NoTriton())
socket.socket.connect = no_network
socket.getaddrinfo = no_network
folder_paths = types.ModuleType("folder_paths")
folder_paths.models_dir = "models"
folder_paths.add_model_folder_path = lambda *a: None
sys.modules["folder_paths"] = folder_paths
path = list(sys.path)
before = set(sys.modules)
start = time.perf_counter()
spec = importlib.util.spec_from_file_location("_x_packs_x_sam3-segment", "__init__.py")
module = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = module
spec.loader.exec_module(module)
seconds = time.perf_counter() - start
print(json.dumps({
    "seconds": seconds,
    "new": sorted({n.split(".")[0] for n in set(sys.modules) - before}),
    "path_changed": path != sys.path,
    "nodes": list(module.NODE_CLASS_MAPPINGS),
}))
"""


def test_mappings(pack: ModuleType) -> None:
    assert list(pack.NODE_CLASS_MAPPINGS) == ["SAM3SegmentV3"]
    assert pack.NODE_DISPLAY_NAME_MAPPINGS == {"SAM3SegmentV3": "SAM3 Segmentation V3"}
    assert pack.WEB_DIRECTORY == "./js"


def test_node_contract(node: Any) -> None:
    assert node.CATEGORY == "🧪AILab/🧽RMBG"
    assert node.FUNCTION == "segment" and callable(node.segment)
    assert node.RETURN_TYPES == ("IMAGE", "MASK", "IMAGE")
    assert node.RETURN_NAMES == ("IMAGE", "MASK", "MASK_IMAGE")


def test_the_model_folder_is_added_after_extra_model_paths(host: Any, part: Any) -> None:
    extra = str(host.models_dir.parent / "shared")
    host.folders["sam3"] = ([extra], set())
    part("nodes.host").register_model_folder()
    part("nodes.host").register_model_folder()
    assert host.folders["sam3"][0] == [extra, str(host.models_dir / "sam3")]
    assert part("nodes.host").model_folders()[0] == extra
    assert not (host.models_dir / "sam3").exists(), "importing must not create folders"


def test_init_is_short_and_hides_nothing() -> None:
    text = (ROOT / "__init__.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 40
    assert not [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Try)]


def test_importing_is_quick_and_needs_no_triton_network_or_heavy_package() -> None:
    environment = dict(os.environ, CUDA_VISIBLE_DEVICES="")
    results = []
    for _ in range(3):  # the best of three: the machine may be busy
        done = subprocess.run(
            [sys.executable, "-c", IMPORT_PACK],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        results.append(json.loads(done.stdout.splitlines()[-1]))
        if results[-1]["seconds"] < 0.5:
            break
    assert min(r["seconds"] for r in results) < 0.5
    heavy = {"torchvision", "timm", "transformers", "huggingface_hub", "scipy", "skimage", "iopath"}
    assert not heavy & set(results[0]["new"])
    assert not results[0]["path_changed"]
    # Relative imports only: another pack may bring its own "sam3" or "nodes".
    assert not {"sam3", "nodes", "AILab_SAM3Segment"} & set(results[0]["new"])
    assert results[0]["nodes"] == ["SAM3SegmentV3"]

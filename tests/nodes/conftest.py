"""Load the pack as ComfyUI does, beside small host modules that really behave.

``host`` puts ``folder_paths`` and ``comfy.*`` into ``sys.modules`` (a models folder in tmp_path, a
memory manager that moves modules, a progress bar that checks for cancelling). ``pack`` imports the
pack under a path-like module name; its classes are not those of a plain ``import sam3``.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
# What ComfyUI makes of a folder's path.
PACK_NAME = "_x_custom_nodes_x_sam3-segment"


class Interrupted(Exception):
    """ComfyUI's InterruptProcessingException."""


class FakePatcher:
    """The part of ModelPatcher that counts: it writes ``device`` and moves the module."""

    def __init__(
        self, model: nn.Module, load_device: torch.device, offload_device: torch.device
    ) -> None:
        self.model = model
        self.load_device = load_device
        self.offload_device = offload_device
        self.moves: list[torch.device] = []
        model.device = offload_device  # type: ignore[assignment]

    def move(self, device: torch.device) -> None:
        self.moves.append(device)
        self.model.to(device)
        self.model.device = device  # type: ignore[assignment]


class Host:
    """State of the fake ComfyUI, changed and read by the tests."""

    def __init__(self, models_dir: Path) -> None:
        self.models_dir = models_dir
        self.device = torch.device("cpu")
        self.bf16 = self.fp16 = False
        self.cancelled = False
        self.cancel_after_updates: int | None = None
        self.bars: list[list[int]] = []
        self.loaded: list[SimpleNamespace] = []
        self.memory_required: list[float] = []
        self.cache_emptied = 0

    def throw_if_interrupted(self) -> None:
        if self.cancelled:
            self.cancelled = False
            raise Interrupted

    def load_models_gpu(
        self, models: list[FakePatcher], memory_required: float = 0, force_full_load: bool = False
    ) -> None:
        assert force_full_load
        self.memory_required.append(memory_required)
        for patcher in models:
            patcher.move(patcher.load_device)
            self.loaded = [m for m in self.loaded if m.model is not patcher]
            self.loaded.insert(0, SimpleNamespace(model=patcher, device=patcher.load_device))

    def free_memory(
        self, memory_required: float, device: torch.device, keep_loaded: list[Any] | None = None
    ) -> None:
        keep = keep_loaded or []
        for entry in list(self.management.current_loaded_models):
            if entry.device == device and entry not in keep:
                entry.model.move(entry.model.offload_device)
                self.loaded.remove(entry)

    @property
    def management(self) -> Any:
        return _Management(self)

    def get_filename_list(self, folder: str) -> list[str]:
        paths, extensions = self.folders[folder]
        found = set()
        for root in map(Path, paths):
            for file in root.rglob("*"):
                if file.is_file() and (not extensions or file.suffix in extensions):
                    found.add(str(file.relative_to(root)))
        return sorted(found)

    def add_model_folder_path(self, name: str, path: str, is_default: bool = False) -> None:
        paths, _ = self.folders.setdefault(name, ([], set()))
        if path not in paths:
            paths.insert(0 if is_default else len(paths), path)

    folders: dict[str, tuple[list[str], set[str]]]


class _Management(ModuleType):
    """``comfy.model_management``."""

    def __init__(self, host: Host) -> None:
        super().__init__("comfy.model_management")
        self._host = host
        self.InterruptProcessingException = Interrupted
        self.throw_exception_if_processing_interrupted = host.throw_if_interrupted
        self.get_torch_device = lambda: host.device
        self.intermediate_device = lambda: torch.device("cpu")
        self.unet_offload_device = lambda: torch.device("cpu")
        self.should_use_bf16 = lambda device=None: host.bf16
        self.should_use_fp16 = lambda device=None: host.fp16
        self.load_models_gpu = host.load_models_gpu
        self.free_memory = host.free_memory

    @property
    def current_loaded_models(self) -> list[SimpleNamespace]:
        return self._host.loaded

    def soft_empty_cache(self) -> None:
        self._host.cache_emptied += 1


def _progress_bar(host: Host) -> type:
    class ProgressBar:
        def __init__(self, total: int) -> None:
            self.total, self.current = total, 0
            host.bars.append([])
            self.log = host.bars[-1]

        def update_absolute(self, value: int, total: int | None = None) -> None:
            self.current = value
            self.log.append(value)
            if host.cancel_after_updates == len(self.log):
                host.cancelled = True
            host.throw_if_interrupted()

        def update(self, value: int) -> None:
            self.update_absolute(self.current + value)

    return ProgressBar


def _module(name: str, **members: Any) -> ModuleType:
    module = ModuleType(name)
    module.__dict__.update(members)
    return module


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A fake ComfyUI in ``sys.modules``."""
    models = tmp_path / "models"
    (models / "checkpoints").mkdir(parents=True)
    host = Host(models)
    host.folders = {
        "checkpoints": ([str(models / "checkpoints")], {".safetensors", ".pt", ".ckpt"})
    }
    management = _Management(host)
    patcher = _module("comfy.model_patcher", ModelPatcher=FakePatcher)
    utils = _module("comfy.utils", ProgressBar=_progress_bar(host))
    modules = {
        "folder_paths": _module(
            "folder_paths",
            models_dir=str(models),
            folder_names_and_paths=host.folders,
            add_model_folder_path=host.add_model_folder_path,
            get_folder_paths=lambda name: list(host.folders[name][0]),
            get_filename_list=host.get_filename_list,
        ),
        "comfy": _module(
            "comfy", model_management=management, model_patcher=patcher, utils=utils, __path__=[]
        ),
        "comfy.model_management": management,
        "comfy.model_patcher": patcher,
        "comfy.utils": utils,
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return host


def _forget_pack() -> None:
    for name in [n for n in sys.modules if n == PACK_NAME or n.startswith(PACK_NAME + ".")]:
        del sys.modules[name]


@pytest.fixture
def pack(host: Host) -> Iterator[ModuleType]:
    """The pack, freshly imported the way ComfyUI imports it."""
    spec = importlib.util.spec_from_file_location(PACK_NAME, ROOT / "__init__.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACK_NAME] = module
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        _forget_pack()


@pytest.fixture
def part(pack: ModuleType) -> Callable[[str], ModuleType]:
    """Import a module of the pack: ``part("nodes.loading")``."""
    return lambda name: importlib.import_module(f"{PACK_NAME}.{name}")


@pytest.fixture
def node(pack: ModuleType) -> Any:
    """An instance of the node."""
    return pack.NODE_CLASS_MAPPINGS["SAM3SegmentV3"]()


@pytest.fixture
def errors(part: Callable[[str], ModuleType]) -> ModuleType:
    """The pack's own error classes."""
    return part("sam3.errors")

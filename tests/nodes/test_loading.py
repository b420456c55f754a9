"""Finding, fetching, building and sharing models, with a real tiny model of random weights."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the tiny model with random weights and its config inside."""
    from sam3.checkpoint import save_checkpoint
    from sam3.config import presets
    from sam3.model_builder import build_sam3_image_model

    torch.manual_seed(0)
    model = build_sam3_image_model(device="cpu", load_from_HF=False, config=presets.SAM3_TINY)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_checkpoint(model, path, config=presets.SAM3_TINY.to_dict())
    return path


@pytest.fixture
def loading(part: Callable[[str], ModuleType]) -> ModuleType:
    return part("nodes.loading")


@pytest.fixture
def models(host: Any, tiny_file: Path) -> Path:
    """``models/sam3`` with three files of equal weights."""
    folder = host.models_dir / "sam3"
    folder.mkdir()
    for name in ("a", "b", "c"):
        shutil.copy(tiny_file, folder / f"{name}.safetensors")
    return folder


class SmallModel(torch.nn.Module):
    """Has what loading looks at, and nothing else; building the real one takes seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = torch.nn.Linear(2, 2)
        self.config = SimpleNamespace(vision=SimpleNamespace(img_size=144))


@pytest.fixture
def quick(loading: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Build small stand-ins instead of the model; everything around them stays real."""
    monkeypatch.setattr(loading, "_build", lambda *_: loading.SAM3(SmallModel()))


def no_download(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError("nothing may be downloaded here")


# --- sharing ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
def test_all_nodes_share_one_model(models: Path, loading: ModuleType, host: Any) -> None:
    first = loading.shared_model("a.safetensors", "Auto")
    loading.make_processor(first, 0.5)
    second = loading.shared_model("a.safetensors", "CPU")
    loading.make_processor(second, 0.3)
    assert second is first
    assert [entry.model for entry in host.loaded] == [first.patcher]
    assert first.patcher.model.device == torch.device("cpu")


@pytest.mark.filterwarnings("ignore:Casting complex values")
def test_parameters_can_be_moved_outside_inference_mode(models: Path, loading: ModuleType) -> None:
    with torch.inference_mode():
        shared = loading.shared_model("a.safetensors", "CPU")
        loading.make_processor(shared, 0.5)
    assert not any(p.is_inference() or p.requires_grad for p in shared.model.parameters())
    shared.patcher.model.to(torch.float64)


@pytest.mark.usefixtures("quick")
def test_a_model_the_host_evicted_is_brought_back_for_the_next_run(
    models: Path, loading: ModuleType, host: Any
) -> None:
    """ComfyUI may take any model off its device to make room for another."""
    shared = loading.shared_model("a.safetensors", "Auto")
    loading.make_processor(shared, 0.5)
    host.free_memory(1e30, shared.patcher.load_device)
    assert not host.loaded
    again = loading.shared_model("a.safetensors", "Auto")
    loading.make_processor(again, 0.5)
    assert again is shared, "eviction is no reason to read the file anew"
    assert [entry.model for entry in host.loaded] == [shared.patcher]


@pytest.mark.usefixtures("quick")
def test_a_file_that_changed_is_read_again(models: Path, loading: ModuleType) -> None:
    first = loading.shared_model("a.safetensors", "CPU")
    os.utime(models / "a.safetensors", ns=(1, 1))
    assert loading.shared_model("a.safetensors", "CPU") is not first


@pytest.mark.usefixtures("quick")
def test_only_the_last_two_models_are_kept(models: Path, loading: ModuleType, host: Any) -> None:
    shared = {n: loading.shared_model(f"{n}.safetensors", "CPU") for n in ("a", "b")}
    for each in shared.values():
        loading.make_processor(each, 0.5)
    assert loading.shared_model("a.safetensors", "CPU") is shared["a"]
    loading.make_processor(loading.shared_model("c.safetensors", "CPU"), 0.5)
    assert shared["b"].patcher not in [entry.model for entry in host.loaded]
    assert loading.shared_model("a.safetensors", "CPU") is shared["a"]


@pytest.mark.usefixtures("quick")
def test_release_frees_this_model_and_no_other(
    models: Path, loading: ModuleType, host: Any
) -> None:
    other = loading.shared_model("b.safetensors", "CPU")
    loading.make_processor(other, 0.5)
    shared = loading.shared_model("a.safetensors", "CPU")
    loading.make_processor(shared, 0.5)
    gone = weakref.ref(shared.model)
    loading.release(shared)
    assert [entry.model for entry in host.loaded] == [other.patcher]
    assert host.cache_emptied == 1
    del shared
    gc.collect()
    assert gone() is None, "the released model is still held by someone"


@pytest.mark.usefixtures("quick")
def test_the_node_unloads_even_when_loading_onto_the_device_fails(
    models: Path, host: Any, node: Any, monkeypatch: pytest.MonkeyPatch, loading: ModuleType
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(loading.host, "load_model", fail)
    monkeypatch.setattr(loading.SharedModel, "tokenizer", None)
    with pytest.raises(MemoryError):
        node.segment(torch.zeros(1, 8, 8, 3), "x", "a.safetensors", "CPU", 0.5, unload_model=True)
    assert not loading._cache


@pytest.mark.usefixtures("quick")
def test_memory_is_asked_for(models: Path, loading: ModuleType, host: Any) -> None:
    shared = loading.shared_model("a.safetensors", "CPU")
    loading.make_processor(shared, 0.5)
    side = shared.model.config.vision.img_size
    assert host.memory_required[0] >= side * side * 512 * 2


# --- devices and precision -------------------------------------------------------------------


def test_auto_is_comfyuis_device(part: Callable[[str], ModuleType], host: Any) -> None:
    services = part("nodes.host")
    for name in ("cuda:1", "mps", "xpu:0", "cpu"):
        host.device = torch.device(name)
        assert services.pick_device("Auto") == torch.device(name)
        assert services.pick_device("CPU") == torch.device("cpu")
        if name != "cpu":
            assert services.pick_device("GPU") == torch.device(name)


@pytest.mark.usefixtures("quick")
def test_model_and_processor_follow_comfyuis_device(
    models: Path, loading: ModuleType, host: Any
) -> None:
    host.device = torch.device("meta")  # a device that is not the CPU, on any machine
    for choice, expected in (("Auto", "meta"), ("GPU", "meta"), ("CPU", "cpu")):
        shared = loading.shared_model("a.safetensors", choice)
        processor = loading.make_processor(shared, 0.5)
        assert processor.device == torch.device(expected)
        assert {p.device.type for p in shared.model.parameters()} == {expected}


def test_gpu_without_one_is_a_clear_error(models: Path, node: Any, errors: ModuleType) -> None:
    with pytest.raises(errors.DeviceError, match="ComfyUI has none.*Auto or CPU"):
        node.segment(torch.zeros(1, 8, 8, 3), "x", "a.safetensors", "GPU", 0.5)


def test_unknown_device(models: Path, node: Any, errors: ModuleType) -> None:
    with pytest.raises(errors.InputError, match="Auto, CPU, GPU"):
        node.segment(torch.zeros(1, 8, 8, 3), "x", "a.safetensors", "TPU", 0.5)


@pytest.mark.parametrize(
    ("device", "bf16", "fp16", "expected"),
    [
        ("cuda:0", True, True, "bf16"),
        ("cuda:0", False, True, "fp16"),
        ("cuda:0", False, False, "fp32"),
        ("mps", False, True, "fp16"),
        ("cpu", True, True, "auto"),
    ],
)
def test_precision_follows_comfyui(
    part: Callable[[str], ModuleType], host: Any,
    device: str, bf16: bool, fp16: bool, expected: str,
) -> None:  # fmt: skip
    host.bf16, host.fp16 = bf16, fp16
    assert part("nodes.host").pick_precision(torch.device(device)) == expected


def test_half_precision_is_stored_on_the_cpu_before_the_gpu_takes_it(
    models: Path, loading: ModuleType
) -> None:
    path = models / "a.safetensors"
    for precision, dtype in (("fp16", torch.float16), ("bf16", torch.bfloat16)):
        holder = loading._build(path, torch.device("cuda:0"), precision)
        assert holder.model.dtype == dtype
        assert {p.device.type for p in holder.parameters()} == {"cpu"}


# --- finding and fetching --------------------------------------------------------------------


@pytest.fixture
def fetch_calls(
    part: Callable[[str], ModuleType], tiny_file: Path, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[str, Path]]:
    """Replace the download by a copy that reports progress."""
    calls: list[tuple[str, Path]] = []

    def fetch(name: str, folder: Path, *, token: Any = None, progress: Any = None) -> Path:
        calls.append((name, Path(folder)))
        for done in (0, 40, 100):
            progress(done, 100)
        Path(folder).mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(tiny_file, Path(folder) / "sam3.pt.safetensors"))

    monkeypatch.setattr(part("sam3.checkpoint.resolve"), "fetch_weights", fetch)
    return calls


@pytest.mark.usefixtures("quick")
def test_missing_published_weights_are_fetched_with_progress(
    loading: ModuleType, host: Any, fetch_calls: list[tuple[str, Path]]
) -> None:
    loading.shared_model("sam3", "CPU")
    assert fetch_calls == [("sam3", host.models_dir / "sam3")]
    assert host.bars == [[0, 40, 100]]


@pytest.mark.usefixtures("quick")
def test_cancelling_a_download(
    loading: ModuleType, host: Any, fetch_calls: list[tuple[str, Path]]
) -> None:
    host.cancel_after_updates = 2
    with pytest.raises(host.management.InterruptProcessingException):
        loading.shared_model("sam3", "CPU")
    assert not loading._cache


@pytest.mark.parametrize(
    ("name", "folder", "file"),
    [
        ("sam3", "sam3", "sam3.safetensors"),
        ("sam3", "checkpoints", "sam3.safetensors"),
        ("sam3.1", "checkpoints", "sam3.1_multiplex_fp16.safetensors"),
        ("mine.safetensors", "sam3", "mine.safetensors"),
        ("sub/mine.safetensors", "checkpoints", "sub/mine.safetensors"),
    ],
)
@pytest.mark.usefixtures("quick")
def test_a_local_file_wins(
    loading: ModuleType, host: Any, tiny_file: Path, monkeypatch: pytest.MonkeyPatch,
    part: Callable[[str], ModuleType], name: str, folder: str, file: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(part("sam3.checkpoint.resolve"), "fetch_weights", no_download)
    target = host.models_dir / folder / file
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(tiny_file, target)
    assert loading.shared_model(name, "CPU").key[0] == str(target.resolve())


@pytest.mark.usefixtures("quick")
def test_extra_model_paths_are_searched_first(
    loading: ModuleType, host: Any, tiny_file: Path, tmp_path: Path
) -> None:
    extra = tmp_path / "elsewhere"
    extra.mkdir()
    shutil.copy(tiny_file, extra / "sam3.safetensors")
    host.folders["sam3"][0].insert(0, str(extra))
    assert loading.shared_model("sam3", "CPU").key[0] == str((extra / "sam3.safetensors").resolve())


@pytest.mark.usefixtures("quick")
def test_a_linked_file_is_found(loading: ModuleType, models: Path, tiny_file: Path) -> None:
    """Weights kept on another disk and linked into the models folder."""
    try:
        (models / "sam3.safetensors").symlink_to(tiny_file)
    except OSError:
        pytest.skip("this system cannot make symbolic links")
    assert loading.shared_model("sam3", "CPU").key[0] == str(tiny_file.resolve())


def test_unknown_model_through_a_link(models: Path, node: Any, errors: ModuleType) -> None:
    with pytest.raises(errors.InputError, match="'gone.pt' was not found.*sam3-tiny"):
        node.segment(torch.zeros(1, 8, 8, 3), "x", "gone.pt", "CPU", 0.5)


@pytest.mark.parametrize(
    "content", [b"", b"<!DOCTYPE html><html>", b"version https://git-lfs.github.com/spec/v1\n"]
)
def test_a_broken_file_is_a_checkpoint_error_that_names_it(
    models: Path, node: Any, errors: ModuleType, loading: ModuleType, content: bytes
) -> None:
    (models / "broken.safetensors").write_bytes(content)
    with pytest.raises(errors.CheckpointError, match="broken.safetensors"):
        node.segment(
            torch.zeros(1, 8, 8, 3), "x", "broken.safetensors", "CPU", 0.5, unload_model=True
        )
    assert not loading._cache


def test_offline_names_file_folder_and_page(
    node: Any, host: Any, errors: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(errors.DownloadError) as caught:
        node.segment(torch.zeros(1, 8, 8, 3), "x", "sam3", "CPU", 0.5)
    message = str(caught.value)
    assert "sam3.pt" in message and str(host.models_dir / "sam3") in message
    assert "https://huggingface.co/" in message


# --- the whole way ---------------------------------------------------------------------------


def test_the_node_runs_a_real_model(
    models: Path, node: Any, host: Any, loading: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random weights find nonsense, but everything between picture and outputs is real."""
    used: list[weakref.ref[Any]] = []
    release = loading.release

    def remember(shared: Any) -> None:
        used.append(weakref.ref(shared.model))
        release(shared)

    monkeypatch.setattr(loading, "release", remember)
    image = torch.rand(2, 40, 60, 3, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        picture, mask, mask_image = node.segment(
            image, "red circle, dog", "a.safetensors", "CPU", 0.05,
            mask_blur=1, mask_offset=2, unload_model=True,
        )  # fmt: skip
    assert picture.shape == (2, 40, 60, 4) and mask.shape == (2, 40, 60)
    assert torch.equal(picture[..., :3], image)
    assert mask.max() > 0, "at this threshold random weights must find something"
    assert host.bars == [[1, 2]] and not host.loaded
    gc.collect()
    assert [model() for model in used] == [None], "unload_model left the weights in memory"


def test_a_threshold_out_of_range_through_a_link(
    models: Path, node: Any, errors: ModuleType
) -> None:
    with pytest.raises(errors.InputError, match="confidence_threshold"):
        node.segment(torch.zeros(1, 8, 8, 3), "x", "a.safetensors", "CPU", 3.0)


def test_nothing_found_by_a_real_model_tells_its_best_score(
    models: Path, node: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), torch.inference_mode():
        _, mask, _ = node.segment(torch.zeros(1, 8, 8, 3), "x", "a.safetensors", "CPU", 0.95)
    assert not mask.any()
    assert any("nothing found" in r.message and "0.95" in r.message for r in caplog.records)

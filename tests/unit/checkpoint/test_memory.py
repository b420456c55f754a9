"""Memory of a load: pages are given back during conversion, nothing unused is materialised."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sam3.checkpoint import load, load_image_weights, read_checkpoint
from sam3.checkpoint.safetensors_reader import SafetensorsReader
from sam3.checkpoint.torch_reader import TorchReader

WIDE = [("backbone.language_backbone.encoder.token_embedding.weight", [64, 64], "float32")]
LAYERS = [
    (f"transformer.encoder.layers.{n}.linear1.weight", [1024, 1024], "float32") for n in range(40)
]
UNUSED = [(f"tracker.part.{n}.weight", [1024, 1024], "float32") for n in range(20)]


@pytest.fixture
def release_limit(monkeypatch):
    """A limit of three layers between two releases, and no copying of small files."""
    monkeypatch.setattr(load, "RELEASE_EVERY_BYTES", 3 * 4 * 1024 * 1024)
    monkeypatch.setattr(load, "RELEASE_EVERY_SHARE", 0.0)
    monkeypatch.setattr(load, "COPY_BELOW_BYTES", 0)
    return 3


@pytest.mark.parametrize("kind", ["safetensors", "pt"])
def test_conversion_releases_pages_and_skips_what_is_not_kept(
    kind, release_limit, tmp_path, random_state, build, monkeypatch
):
    entries = WIDE + LAYERS
    state = {f"detector.{n}": t for n, t in random_state(entries).items()}
    state |= random_state(UNUSED)
    path = tmp_path / f"a.{kind}"
    if kind == "pt":
        torch.save(state, path)
    else:
        save_file(state, path)
    reader = TorchReader if kind == "pt" else SafetensorsReader
    reads: list[str] = []
    original_read, original_release = reader.tensor, reader.release

    def read(self, name):
        reads.append(name)
        return original_read(self, name)

    def release(self):
        reads.append("release")
        original_release(self)

    monkeypatch.setattr(reader, "tensor", read)
    monkeypatch.setattr(reader, "release", release)
    model = build(entries)
    load_image_weights(model, path, dtype_for=lambda name, tensor: torch.bfloat16)
    assert not any("tracker" in name for name in reads)
    runs = " ".join("x" if name != "release" else "|" for name in reads).split("|")
    assert max(run.count("x") for run in runs) <= release_limit + 1  # the tiny table comes on top
    assert len(runs) >= 40 // 3
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state["detector." + name].bfloat16())


@pytest.mark.parametrize("kind", ["safetensors", "pt"])
def test_same_dtype_is_not_copied(kind, release_limit, tmp_path, random_state, build):
    state = random_state(LAYERS)
    path = tmp_path / f"a.{kind}"
    if kind == "pt":
        torch.save(state, path)
    else:
        save_file(state, path)
    raw = read_checkpoint(path)
    stored = raw.tensor(LAYERS[0][0])
    model = build(LAYERS)
    load_image_weights(model, raw)
    assert model.get_parameter(LAYERS[0][0]).data_ptr() == stored.data_ptr()


MEASURE = """
    import json, sys, torch
    torch.set_num_threads(1)
    sys.path[:0] = [{root!r}, {tests!r}]
    from conftest import NamedTensors
    from sam3.checkpoint import load, load_image_weights

    load.RELEASE_EVERY_BYTES, load.COPY_BELOW_BYTES = 1 << 20, 0
    entries = json.load(open({entries!r}))

    def status(key):
        for line in open("/proc/self/status"):
            if line.startswith(key):
                return int(line.split()[1]) * 1024

    model = NamedTensors(entries)
    dtype = getattr(torch, {dtype!r})
    before = status("VmRSS")
    report = load_image_weights(model, {path!r}, dtype_for=lambda name, tensor: dtype)
    for parameter in model.parameters():
        parameter.sum()
    print(json.dumps([report.nbytes, status("VmHWM") - before]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["safetensors", "pt"])
def test_peak_memory_is_at_most_1_3_times_the_weights(kind, dtype, tmp_path, random_state):
    entries = [(n.replace("layers.", "layers.1000"), s, d) for n, s, d in LAYERS]
    entries += LAYERS  # 80 tensors of 4 MB
    state = random_state(entries) | random_state(UNUSED)
    path = tmp_path / f"a.{kind}"
    state = {("" if n.startswith("tracker") else "detector.") + n: t for n, t in state.items()}
    if kind == "pt":
        torch.save(state, path)
    else:
        save_file(state, path)
    (tmp_path / "entries.json").write_text(json.dumps(entries))
    code = textwrap.dedent(MEASURE).format(
        root=str(Path(load.__file__).parents[2]),
        tests=str(Path(__file__).parent),
        entries=str(tmp_path / "entries.json"),
        path=str(path),
        dtype=dtype,
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    kept, peak = json.loads(done.stdout.splitlines()[-1])
    assert kept == 80 * 1024 * 1024 * (4 if dtype == "float32" else 2)
    assert peak <= 1.3 * kept, peak / kept

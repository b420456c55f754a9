"""Broken, foreign and malicious files: refused by name, with advice, and nothing executed."""

from __future__ import annotations

import json
import os
import pickle
import struct
import tracemalloc
import zipfile

import pytest
import torch
from safetensors.torch import save, save_file

from sam3.checkpoint import formats, load_image_weights, read_checkpoint, torch_reader
from sam3.checkpoint.info import describe
from sam3.errors import CheckpointError, CheckpointFormatError

pytestmark = [
    pytest.mark.filterwarnings("ignore:Detected pickle protocol"),
    pytest.mark.filterwarnings("ignore:Validating sparse tensor"),
    pytest.mark.filterwarnings("ignore:TypedStorage is deprecated"),
]
WHOLE, COMPLEX = 60, 5  # tensors in the whole file, and those safetensors leaves out
CUTS = [0.0, 0.01, 0.25, 0.5, 0.99, 0.9999]


class RunsCommand:
    """Unpickling this with the ordinary unpickler would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def header(entries: dict) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text


def tensor(begin=0, end=4, shape=(1,), dtype="F32") -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


FOREIGN = {
    "empty": (b"", "empty"),
    "html": (b"<!DOCTYPE html><html><body>Log in</body></html>", "web page"),
    "html after blank": (b"\n  <html>not found</html>", "web page"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n", "git lfs pull"),
    "json": (b'{"error": "Invalid credentials"}', "JSON"),
    "gguf": (b"GGUF\x03\0\0\0" + bytes(64), "GGUF"),
    "zeros": (bytes(4096), "zeros"),
    "text": (b"hello, this is no checkpoint at all", "neither safetensors nor"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "neither safetensors nor"),
    "few bytes": (b"\x80", "damaged"),
    "header 2**63": (struct.pack("<Q", 2**63) + b'{"a":1}', "header of 9223372036854775808"),
    "header beyond file": (struct.pack("<Q", 5000) + b'{"a":1}', "cut short"),
    "header 0": (struct.pack("<Q", 0) + b"{}", "header of 0 bytes"),
    "header no json": (struct.pack("<Q", 8) + b"{'a': 1}", "not valid JSON"),
    "header not utf-8": (struct.pack("<Q", 8) + b'{"\xff": 1}', "not valid JSON"),
    "header deep": (struct.pack("<Q", 200000) + b'{"a":' + b"[" * 199995, "not valid JSON"),
    "name twice": (
        struct.pack("<Q", 122)
        + b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'.ljust(61)
        + b'"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}'.ljust(61)
        + bytes(8),
        "more than once",
    ),
    "overlap": (header({"a": tensor(0, 4), "b": tensor(2, 6)}) + bytes(6), "overlaps"),
    "hole": (header({"a": tensor(0, 4), "b": tensor(8, 12)}) + bytes(12), "hole"),
    "outside": (header({"a": tensor(0, 4), "b": tensor(4, 8)}) + bytes(4), "cut short"),
    "trailing": (header({"a": tensor(0, 4)}) + bytes(64), "foreign bytes"),
    "shape and bytes": (header({"a": tensor(0, 4, (2,))}) + bytes(4), "does not fit"),
    "negative": (header({"a": tensor(0, 4, (-1, -1))}) + bytes(4), "does not fit"),
    "huge shape": (header({"a": tensor(0, 4, (2**40, 2**40))}) + bytes(4), "does not fit"),
    "unknown dtype": (header({"a": tensor(0, 4, dtype="F4")}) + bytes(4), "F4.*not supported"),
    "malformed entry": (header({"a": {"dtype": "F32"}}) + bytes(4), "malformed"),
    "no offsets": (header({"a": [1, 2]}) + bytes(4), "malformed"),
}


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("case", FOREIGN)
def test_foreign_content(case, suffix, tmp_path, image_model):
    content, message = FOREIGN[case]
    path = tmp_path / f"sam3{suffix}"
    path.write_bytes(content)
    if suffix == ".safetensors" and case in ("few bytes", "text", "png"):
        message = "safetensors"
    with pytest.raises(CheckpointFormatError, match=f"(?is){message}") as info:
        load_image_weights(image_model, path)
    assert str(path) in str(info.value)
    assert all(t.is_meta for t in image_model.state_dict().values())


def checkpoint_bytes(kind, state, path):
    if kind == "safetensors":
        return save({name: t.contiguous() for name, t in state.items() if not t.is_complex()})
    torch.save({"model": state}, path, _use_new_zipfile_serialization=kind == "zip")
    return path.read_bytes()


@pytest.fixture(scope="module")
def whole_files(small, random_state, tmp_path_factory):
    state = random_state(small["image"][:WHOLE])
    assert sum(t.is_complex() for t in state.values()) == COMPLEX
    path = tmp_path_factory.mktemp("whole") / "x.pt"
    return {kind: checkpoint_bytes(kind, state, path) for kind in ("safetensors", "zip", "legacy")}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_truncated(kind, cut, whole_files, tmp_path):
    content = whole_files[kind]
    path = tmp_path / ("a.safetensors" if kind == "safetensors" else "a.pt")
    path.write_bytes(content)
    assert len(read_checkpoint(path)) == WHOLE - (kind == "safetensors") * COMPLEX
    path.write_bytes(content[: int(len(content) * cut)])
    with pytest.raises(CheckpointFormatError, match="(?i)again") as info:
        read_checkpoint(path)
    assert str(path) in str(info.value)


@pytest.mark.parametrize("cut", [1, 8, 100])
@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_last_bytes_missing(kind, cut, whole_files, tmp_path):
    path = tmp_path / "a.pt"
    path.write_bytes(whole_files[kind][:-cut])
    with pytest.raises(CheckpointFormatError):
        read_checkpoint(path)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("how", ["zip", "legacy", "bare pickle"])
def test_malicious_pickle_is_not_executed(how, protocol, wrapped, tmp_path):
    proof = tmp_path / "proof"
    payload = {"model": {"a": RunsCommand(proof)}} if wrapped else RunsCommand(proof)
    path = tmp_path / "evil.pt"
    if how == "bare pickle":
        path.write_bytes(pickle.dumps(payload, protocol=protocol))
    else:
        legacy = how == "legacy"
        torch.save(
            payload, path, pickle_protocol=protocol, _use_new_zipfile_serialization=not legacy
        )
    with pytest.raises(CheckpointFormatError, match="safetensors|again") as info:
        read_checkpoint(path)
    assert str(path) in str(info.value)
    assert not proof.exists()
    # The payload is live: the unpickler that is never used would have run it.
    if how == "bare pickle":
        pickle.loads(path.read_bytes())
        assert proof.exists()


def test_weights_only_is_never_switched_off(tmp_path, monkeypatch):
    calls = []
    original = torch.load

    def spy(*args, **kwargs):
        calls.append(kwargs.get("weights_only"))
        return original(*args, **kwargs)

    monkeypatch.setattr(torch, "load", spy)
    path = tmp_path / "evil.pt"
    torch.save(RunsCommand(tmp_path / "proof"), path)
    with pytest.raises(CheckpointFormatError):
        read_checkpoint(path)
    torch.save({"a": torch.zeros(1)}, path)
    read_checkpoint(path)
    assert calls == [True, True]


@pytest.mark.parametrize("name", ["a.bin", "a.ckpt", "a.pth", "a", "a.safetensors.pt"])
def test_ending_does_not_matter(name, tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / name)
    assert read_checkpoint(tmp_path / name).tensor("a").item() == 1.0
    save_file({"a": torch.full((1,), 2.0)}, tmp_path / name)
    assert read_checkpoint(tmp_path / name).tensor("a").item() == 2.0


def test_torch_file_named_safetensors(tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointFormatError, match=r"rename it to a\.pt"):
        read_checkpoint(tmp_path / "a.safetensors")


def test_zip_bomb(tmp_path):
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(50 * 1024 * 1024))
    assert path.stat().st_size < 1_000_000
    tracemalloc.start()
    with pytest.raises(CheckpointFormatError, match="compressed"):
        read_checkpoint(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


@pytest.mark.parametrize(
    "files", [{}, {"readme.txt": b"hi"}, {"a/data.pkl": b"", "b/data.pkl": b""}]
)
def test_zip_that_is_no_checkpoint(files, tmp_path):
    path = tmp_path / "sam3.pt"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    with pytest.raises(CheckpointFormatError, match="torch|empty"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "a list"),
        ({}, "empty dict"),
        (torch.zeros(3), "a Tensor"),
        ({"a": torch.zeros(1), "b": 3}, "'b' is a int"),
        ({"a": {"b": torch.zeros(1)}}, "'a' is a dict"),
        ({3: torch.zeros(1)}, "entry 3"),
        ({"a": torch.eye(2).to_sparse()}, "sparse"),
    ],
)
def test_torch_file_without_a_state_dict(content, message, tmp_path):
    path = tmp_path / "a.pt"
    torch.save(content, path)
    with pytest.raises(CheckpointFormatError, match=message):
        read_checkpoint(path)


@pytest.mark.parametrize("version", ["2.5.1", "1.13.0+cu117"])
def test_old_torch_refuses_pt_but_reads_safetensors(version, tmp_path, monkeypatch):
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pt")
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    monkeypatch.setattr(torch_reader.torch, "__version__", version)
    with pytest.raises(CheckpointFormatError, match=r"torch >= 2\.6"):
        read_checkpoint(tmp_path / "a.pt")
    assert read_checkpoint(tmp_path / "a.safetensors").tensor("a").item() == 1.0


@pytest.mark.parametrize("version", ["2.6.0", "2.10.1+cu128", "3.0.0a0"])
def test_new_torch_reads_pt(version, tmp_path, monkeypatch):
    torch.save({"a": torch.ones(1)}, tmp_path / "a.pt")
    monkeypatch.setattr(torch_reader.torch, "__version__", version)
    assert read_checkpoint(tmp_path / "a.pt").tensor("a").item() == 1.0


def test_missing_file_and_folders(tmp_path):
    with pytest.raises(CheckpointFormatError, match=r"no\.pt.*No such file"):
        read_checkpoint(tmp_path / "no.pt")
    with pytest.raises(CheckpointFormatError, match="folder without a checkpoint.*nothing"):
        read_checkpoint(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(CheckpointFormatError, match=r"notes\.txt"):
        read_checkpoint(tmp_path)


def test_permission_denied(tmp_path, monkeypatch):
    path = tmp_path / "a.pt"
    path.write_bytes(b"x")

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(formats, "open", refuse, raising=False)
    with pytest.raises(CheckpointFormatError, match=r"a\.pt.*Permission denied.*may read"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": 1}}']
)
def test_broken_index(content, tmp_path):
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(content)
    with pytest.raises(CheckpointFormatError, match="index"):
        read_checkpoint(path)


@pytest.mark.parametrize("seed", range(40))
def test_flipped_bytes_never_escape_the_error_tree(seed, whole_files, tmp_path):
    """Damage in the table of contents either is refused or leaves a readable file."""
    generator = torch.Generator().manual_seed(seed)
    kind = ("safetensors", "zip", "legacy")[seed % 3]
    content = bytearray(whole_files[kind])
    reach = 6000 if seed % 2 else len(content)
    start = 0 if kind != "zip" or seed % 2 else len(content) - reach
    for _ in range(6):
        at = start + int(torch.randint(0, min(reach, len(content)), (1,), generator=generator))
        content[at] ^= 1 << int(torch.randint(0, 8, (1,), generator=generator))
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    try:
        raw = read_checkpoint(path)
        for name in raw:
            raw.tensor(name)
        describe(raw)
    except CheckpointError as error:
        assert str(path) in str(error)

"""Model names to files: order of search, names, and the messages when nothing is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from sam3.checkpoint import catalog
from sam3.checkpoint.resolve import resolve_model
from sam3.errors import CheckpointError, InputError


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("sam3", "sam3.pt"),
        ("sam3", "sam3.safetensors"),
        ("sam3.1", "sam3.1_multiplex_fp16.safetensors"),
        ("sam3.1", "sam3.1_multiplex.pt"),
        ("mine.safetensors", "mine.safetensors"),
        ("mine", "mine.safetensors"),
        ("mine", "mine.pt"),
    ],
)
def test_names_find_files_in_folders(tmp_path: Path, name: str, file: str) -> None:
    wanted = touch(tmp_path / "second" / file)
    folders = [tmp_path / "absent", tmp_path / "second"]
    assert resolve_model(name, folders, allow_download=False) == wanted


def test_the_first_folder_wins(tmp_path: Path) -> None:
    first = touch(tmp_path / "a" / "sam3.pt")
    touch(tmp_path / "b" / "sam3.safetensors")
    assert resolve_model("sam3", [tmp_path / "a", tmp_path / "b"]) == first


def test_sam3_is_never_taken_for_sam31(tmp_path: Path) -> None:
    touch(tmp_path / "sam3.1_multiplex.pt")
    assert catalog.find_local("sam3", [tmp_path]) is None
    touch(tmp_path / "sam3.pt")
    assert catalog.find_local("sam3.1", [tmp_path]) == tmp_path / "sam3.1_multiplex.pt"


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    path = touch(tmp_path / "anything.bin")
    assert resolve_model(str(path), []) == path


def test_a_known_name_is_not_shadowed_by_a_file_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "sam3")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError):
        resolve_model("sam3", [tmp_path / "models"], allow_download=False)


def test_names_cannot_leave_the_folder(tmp_path: Path) -> None:
    touch(tmp_path / "secret.pt")
    folder = tmp_path / "models"
    folder.mkdir()
    assert catalog.find_local("../secret", [folder]) is None


def test_unknown_name_lists_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no model 'sam4'.*sam3, sam3\.1, sam3-tiny") as error:
        resolve_model("sam4", [tmp_path])
    assert str(tmp_path) in str(error.value)
    with pytest.raises(InputError, match="No model was named"):
        resolve_model("  ", [tmp_path])


def test_missing_and_offline_names_file_folder_and_page(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as error:
        resolve_model("sam3.1", [tmp_path], allow_download=False)
    text = str(error.value)
    assert "sam3.1_multiplex_fp16.safetensors" in text
    assert str(tmp_path) in text
    assert "https://huggingface.co/Comfy-Org/sam3.1" in text


def test_missing_bundled_file_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "ASSETS", tmp_path)
    with pytest.raises(CheckpointError, match="sam3_tiny.safetensors is missing"):
        resolve_model("sam3-tiny", [])


def test_download_goes_to_the_first_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sam3.checkpoint import resolve

    calls = []

    def fake(name: str, folder: Path, token: str | None = None, progress: object = None) -> Path:
        calls.append((name, folder, token))
        return touch(folder / "sam3.pt")

    monkeypatch.setattr(resolve, "fetch_weights", fake)
    folders = [tmp_path / "a", tmp_path / "b"]
    assert resolve_model("sam3", folders, token="t") == tmp_path / "a" / "sam3.pt"
    assert calls == [("sam3", tmp_path / "a", "t")]


def test_list_models_has_known_names_once(tmp_path: Path) -> None:
    for name in ("sam3.pt", "b.safetensors", "A.pt", "notes.txt"):
        touch(tmp_path / name)
    names = catalog.list_models([tmp_path, tmp_path / "absent"])
    assert names == ["sam3", "sam3.1", "sam3-tiny", "A.pt", "b.safetensors"]


def test_environment_variable_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(catalog.MODELS_VARIABLE, str(tmp_path))
    assert catalog.default_folders()[0] == tmp_path

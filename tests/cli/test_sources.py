"""Arguments to pictures, and output names that never clash."""

from __future__ import annotations

from pathlib import Path

import pytest

from sam3.cli.sources import Source, assign_stems, expand, names_picture
from sam3.errors import InputError


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


@pytest.mark.parametrize(
    ("paths", "stems"),
    [
        (["a.png"], ["a"]),
        (["a.png", "b.png"], ["a", "b"]),
        (["a.png", "a.jpg"], ["a-png", "a-jpg"]),
        (["x/a.png", "y/a.png"], ["x-a", "y-a"]),
        (["x/a.png", "y/A.png"], ["x-a", "y-A"]),
        (["x/a.png", "y/a.png", "y/a.jpg"], ["x-a-png", "y-a-png", "y-a-jpg"]),
        (["a.b.png"], ["a.b"]),
    ],
)
def test_stems(tmp_path: Path, paths: list[str], stems: list[str]) -> None:
    sources = [Source(tmp_path / p) for p in paths]
    assert [s.as_posix() for s in assign_stems(sources)] == stems


def test_the_hash_parts_what_nothing_else_does(tmp_path: Path) -> None:
    sources = [Source(tmp_path / p / "x" / "a.png") for p in ("one", "two", "three")]
    stems = [s.as_posix() for s in assign_stems(sources)]
    assert len(set(stems)) == 3
    assert all(s.startswith("a-") and len(s) == 12 for s in stems)
    assert [s.as_posix() for s in assign_stems(sources[::-1])] == stems[::-1]


def test_a_new_name_never_takes_one_that_is_in_use(tmp_path: Path) -> None:
    names = ["a.png", "a.jpg", "a-png.png"]
    stems = [s.as_posix() for s in assign_stems([Source(tmp_path / n) for n in names])]
    assert len({s.lower() for s in stems}) == 3
    assert stems[2] == "a-png"


def test_sub_folders_keep_pictures_apart(tmp_path: Path) -> None:
    for name in ("in/a.png", "in/sub/a.png", "in/sub/b.TIF", "in/sub/c.txt"):
        touch(tmp_path / name)
    sources = expand([str(tmp_path / "in")], tmp_path / "out", recursive=True)
    assert [s.as_posix() for s in assign_stems(sources)] == ["a", "sub/a", "sub/b"]


def test_the_same_picture_named_twice_is_done_once(tmp_path: Path) -> None:
    path = touch(tmp_path / "in" / "a.png")
    arguments = [str(path), str(tmp_path / "in"), str(tmp_path / "in" / "*.png")]
    assert len(expand(arguments, tmp_path / "out")) == 1


@pytest.mark.parametrize("argument", ["no.png", "no*.png", "x" * 5000, "a\0b"])
def test_what_cannot_be_is_a_problem_not_a_crash(tmp_path: Path, argument: str) -> None:
    [source] = expand([argument], tmp_path / "out")
    assert source.problem
    assert assign_stems([source])
    assert not names_picture(argument)


def test_a_file_with_brackets_in_its_name_is_no_pattern(tmp_path: Path) -> None:
    path = touch(tmp_path / "a[1].png")
    [source] = expand([str(path)], tmp_path / "out")
    assert source == Source(path)


def test_output_folder_as_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="both the input and the output folder"):
        expand([str(tmp_path)], tmp_path)

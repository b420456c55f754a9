"""``info``: text, JSON and exit codes."""

from __future__ import annotations

from typing import Any

import pytest

from sam3.cli.info import lines, to_plain


def test_facts_become_aligned_lines() -> None:
    facts = {"format": "safetensors", "size_in_bytes": 1234567, "usable": True, "note": "", "x": []}
    facts["parts"] = {"image": 1134, "names": [f"k{i}" for i in range(10)]}
    assert lines(facts) == [
        "format         safetensors",
        "size in bytes  1,234,567",
        "usable         yes",
        "parts",
        "  image  1,134",
        "  names  k0, k1, k2, k3, k4, k5, k6, k7 ... (10 in all)",
    ]


def test_plain_values_for_json() -> None:
    from pathlib import Path

    assert to_plain({"a": (1, Path("x")), 2: None}) == {"a": [1, "x"], "2": None}


@pytest.mark.parametrize(
    ("content", "name"),
    [(b"<!DOCTYPE html>", "page.pt"), (b"version https://git-lfs", "lfs.pt"), (b"", "empty.pt")],
)
def test_unusable_files_exit_with_3(shell: Any, tmp_path: Any, content: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert shell("info", path) == 3
    assert name in shell.err
    assert shell.out == ""


def test_a_missing_file_exits_with_3(shell: Any) -> None:
    assert shell("info", "nowhere.pt") == 3
    assert "nowhere.pt" in shell.err

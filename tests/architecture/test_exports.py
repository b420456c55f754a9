"""Every public name is really there."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def library_modules() -> list[str]:
    names = []
    for path in sorted((ROOT / "sam3").rglob("*.py")):
        parts = list(path.relative_to(ROOT).with_suffix("").parts)
        if parts[-1] == "__main__":
            continue
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def test_top_level_exports_resolve() -> None:
    sam3 = importlib.import_module("sam3")
    assert {"build_sam3_image_model", "Sam3Processor", "Sam3Error"} <= set(sam3.__all__)
    missing = [name for name in sam3.__all__ if getattr(sam3, name, None) is None]
    assert not missing
    assert set(sam3.__all__) <= set(dir(sam3))


def test_an_unknown_name_is_an_attribute_error() -> None:
    sam3 = importlib.import_module("sam3")
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = sam3.no_such_name


def test_dunder_all_is_true() -> None:
    missing = []
    for name in library_modules():
        module = importlib.import_module(name)
        listed = getattr(module, "__all__", [])
        missing += [f"{name}.{n}" for n in listed if not hasattr(module, n)]
    assert not missing

"""Translations and the help page name every input and output; English says what the node says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

LOCALES = Path(__file__).resolve().parents[2] / "locales"
FILES = sorted(LOCALES.glob("*/nodeDefs.json"))


def read(path: Path) -> dict[str, Any]:
    definitions = json.loads(path.read_text(encoding="utf-8"))
    assert list(definitions) == ["SAM3SegmentV3"]
    return definitions["SAM3SegmentV3"]


def test_languages() -> None:
    assert {"en", "zh", "ja"} <= {path.parent.name for path in FILES}


def test_english_is_what_the_node_says(pack: Any, node: Any) -> None:
    english = read(LOCALES / "en" / "nodeDefs.json")
    types = node.INPUT_TYPES()
    inputs = types["required"] | types["optional"]
    assert english["display_name"] == pack.NODE_DISPLAY_NAME_MAPPINGS["SAM3SegmentV3"]
    assert english["description"] == node.DESCRIPTION
    assert english["inputs"] == {
        name: {"name": name, "tooltip": spec[1]["tooltip"]} for name, spec in inputs.items()
    }
    assert english["outputs"] == {
        str(i): {"name": name, "tooltip": tip}
        for i, (name, tip) in enumerate(zip(node.RETURN_NAMES, node.OUTPUT_TOOLTIPS, strict=True))
    }


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.parent.name)
def test_every_language_is_complete(path: Path, node: Any) -> None:
    entry = read(path)
    types = node.INPUT_TYPES()
    assert list(entry["inputs"]) == list(types["required"] | types["optional"])
    assert list(entry["outputs"]) == ["0", "1", "2"]
    for part in [*entry["inputs"].values(), *entry["outputs"].values()]:
        assert set(part) == {"name", "tooltip"} and all(part.values())
    assert '"object"' in entry["inputs"]["prompt"]["tooltip"]
    for model in ("sam3.1", "sam3-tiny", "models/sam3", "models/checkpoints"):
        assert model in entry["inputs"]["sam3_model"]["tooltip"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.parent.name)
def test_no_character_that_the_frontends_message_format_reads(path: Path) -> None:
    texts = re.findall(r": (\".*\")", path.read_text(encoding="utf-8"))
    assert texts and not [t for t in texts if set(json.loads(t)) & set("@{}|")]


def test_the_help_page_names_every_input_and_output(pack: Any, node: Any) -> None:
    folder = LOCALES.parent / pack.WEB_DIRECTORY / "docs"
    page = (folder / "SAM3SegmentV3.md").read_text(encoding="utf-8")
    types = node.INPUT_TYPES()
    for name in [*types["required"], *types["optional"], *node.RETURN_NAMES]:
        assert f"| `{name}` |" in page

"""What the documents promise is there: links, commands, tables that mirror the code."""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path

import pytest

from sam3.cli import build_parsers, exit_codes

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\((?!https?://|#)([^)\s#]+)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_relative_links_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    broken = [link for link in LINK.findall(text) if not (document.parent / link).exists()]
    assert not broken


def readme_section(title: str) -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    start = text.index(f"# {title}\n")
    following = re.search(r"^#+ ", text[start + 2 :], flags=re.MULTILINE)
    return text[start : start + 2 + following.start()] if following else text[start:]


def first_cells(section: str) -> list[str]:
    """First cell of every row of the first table of a section."""
    rows = re.search(r"^\|.*?\n(?!\|)", section, flags=re.MULTILINE | re.DOTALL)
    assert rows
    return [row.split("|")[1].strip(" `") for row in rows.group().strip().splitlines()[2:]]


def node_inputs() -> list[str]:
    """Input names of the node in order, read from its source without ComfyUI."""
    tree = ast.parse((ROOT / "AILab_SAM3Segment.py").read_text(encoding="utf-8"))
    [function] = [
        n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "segment"
    ]
    return [a.arg for a in function.args.args if a.arg != "self"]


def test_the_readme_lists_the_node_inputs_in_order() -> None:
    assert first_cells(readme_section("The node")) == node_inputs()


def test_the_readme_lists_the_exit_codes() -> None:
    text = readme_section("Command line")
    listed = {int(n) for n in re.findall(r"^\| (\d+) \|", text, flags=re.MULTILINE)}
    assert listed == {v for k, v in vars(exit_codes).items() if k.isupper()}


def test_the_readme_commands_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every ``python -m sam3`` line of the README is valid for the real parser."""
    import shlex

    from sam3.cli import parse

    lines = re.findall(r"^python -m sam3 (.+)$", readme_section("Command line"), re.MULTILINE)
    assert len(lines) >= 5
    for line in lines:
        arguments = parse(shlex.split(line))
        assert arguments.command in build_parsers()[1]


def test_the_two_commands_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for command in ("demo", "test"):
        assert f"python scripts/dev.py {command}" in text
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "scripts/dev.py test" in ci


def test_requirements_have_no_upper_bounds_and_no_pins() -> None:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    requirements = [line for line in lines if line and not line.startswith("#")]
    names = {re.split(r"[><=~!; ]", line)[0] for line in requirements}
    assert {"torch", "torchvision", "safetensors", "huggingface_hub", "tqdm"} <= names
    for line in requirements:
        specifier = line.split(";")[0]
        assert not re.search(r"<|==|~=|!=", specifier), line
        if line.startswith("triton"):
            assert "platform_system" in line


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib came with Python 3.11")
def test_pyproject_fits_the_registry() -> None:
    import tomllib

    data = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project, comfy = data["project"], data["tool"]["comfy"]
    assert re.fullmatch(r"[a-z][a-z0-9._-]{1,99}", project["name"])
    assert "comfyui" not in project["name"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["version"])
    assert project["license"] == {"file": "LICENSE"}
    assert "Repository" in project["urls"]
    assert comfy["DisplayName"] == "SAM3 Segment"
    assert data["tool"]["setuptools"]["dynamic"]["dependencies"]["file"] == ["requirements.txt"]


def test_versions_agree() -> None:
    import sam3

    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{sam3.__version__}"' in text


def test_example_workflows_are_json() -> None:
    files = sorted((ROOT / "example_workflows").glob("*.json"))
    assert files
    for file in files:
        nodes = json.loads(file.read_text(encoding="utf-8"))["nodes"]
        assert "SAM3SegmentV3" in {n["type"] for n in nodes}

"""Runs the JavaScript tests (`node --test tests/js`) as part of the Python suite."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MIN_NODE = 18  # the first with a stable `node --test`

node = shutil.which("node")


def _node_major() -> int:
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
    return int(re.match(r"v(\d+)", answer.stdout).group(1))


@pytest.mark.skipif(node is None, reason="node is not installed")
def test_javascript_suite() -> None:
    if _node_major() < MIN_NODE:
        pytest.skip(f"node {_node_major()} is older than {MIN_NODE}")
    files = sorted(HERE.glob("*.test.mjs"))
    assert files, "no JavaScript tests found"
    command = [node, "--test", "--test-reporter=tap", *map(str, files)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr
    passed = re.search(r"^# pass (\d+)", run.stdout, re.MULTILINE)
    assert passed and int(passed.group(1)) >= len(files), run.stdout


def _sources() -> list[Path]:
    return sorted((ROOT / "js").rglob("*.js"))


@pytest.mark.parametrize("path", _sources(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_source_conventions(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\bconsole\.", text), "no console output in shipped scripts"
    assert not re.search(r"""(from|import)\s*\(?\s*["']/""", text), "imports are relative"
    imports_app = "scripts/app.js" in text
    if path.parent.name == "lib":
        assert not imports_app, "lib/ is pure: ComfyUI loads every script by itself"
        assert "registerExtension" not in text
    else:
        assert '"../../scripts/app.js"' in text

"""``scripts/dev.py``: arguments, when it installs, and that failures are not swallowed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def dev() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dev_script", ROOT / "scripts" / "dev.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def calls(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands that would have been run; each ends with the code in ``dev.codes``."""
    recorded: list[list[str]] = []
    dev.codes = {}  # type: ignore[attr-defined]

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        recorded.append(command)
        hits = [c for word, c in dev.codes.items() if word in command]  # type: ignore[attr-defined]
        return subprocess.CompletedProcess(command, hits[0] if hits else 0)

    monkeypatch.setattr(dev.subprocess, "run", run)
    return recorded


@pytest.mark.parametrize(
    ("argv", "command", "rest"),
    [
        (["test"], "test", []),
        (["test", "--", "tests/cli", "-x"], "test", ["tests/cli", "-x"]),
        (["run", "-m", "sam3", "--help"], "run", ["-m", "sam3", "--help"]),
        (["--here", "run", "-c", "pass"], "run", ["-c", "pass"]),
    ],
)
def test_arguments(dev: ModuleType, argv: list[str], command: str, rest: list[str]) -> None:
    options = dev.parse(argv)
    assert (options.command, options.rest) == (command, rest)


def test_all_steps_run_and_one_failure_is_enough(dev: ModuleType, calls: list[list[str]]) -> None:
    assert dev.main(["--here", "test"]) == 0
    tools = [" ".join(c[2:4]) for c in calls]
    assert tools == ["ruff check", "ruff format", "mypy", "pytest -q"]
    for word, code in (("check", 1), ("mypy", 2), ("pytest", 1), ("pytest", 5), ("pytest", -9)):
        dev.codes = {word: code}  # type: ignore[attr-defined]
        calls.clear()
        assert dev.main(["--here", "test"]) == 1
        assert len(calls) == 4, "a failure must not hide what comes after it"


def test_demo_segments_the_bundled_picture(dev: ModuleType, calls: list[list[str]]) -> None:
    assert dev.main(["--here", "demo"]) == 0
    [command] = calls
    assert command[:4] == [sys.executable, "-m", "sam3", "segment"]
    assert (ROOT / command[4]).is_file()
    assert "sam3-tiny" in command
    dev.codes = {"segment": 3}  # type: ignore[attr-defined]
    assert dev.main(["--here", "demo"]) == 3


def test_it_installs_once_and_again_when_requirements_change(
    dev: ModuleType, calls: list[list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "venv"

    class Builder:
        def __init__(self, **_: Any) -> None: ...

        def create(self, path: Path) -> None:
            python = dev.venv_python(path)
            python.parent.mkdir(parents=True)
            python.write_bytes(b"")

    monkeypatch.setattr(dev.venv, "EnvBuilder", Builder)
    python = dev.ensure_environment(folder, dev.DEV_FILES)
    assert python == dev.venv_python(folder)
    [install] = calls
    assert install[0] == str(python)
    assert str(ROOT / "requirements-dev.txt") in install
    dev.ensure_environment(folder, dev.DEV_FILES)
    dev.ensure_environment(folder, dev.RUN_FILES)
    assert len(calls) == 1
    monkeypatch.setattr(dev, "requirements_stamp", lambda files: "changed")
    dev.ensure_environment(folder, dev.RUN_FILES)
    assert len(calls) == 2


def test_a_failed_installation_is_not_taken_for_done(
    dev: ModuleType, calls: list[list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    python = dev.venv_python(tmp_path)
    python.parent.mkdir(parents=True)
    python.write_bytes(b"")
    dev.codes = {"pip": 1}  # type: ignore[attr-defined]
    for _ in range(2):
        with pytest.raises(SystemExit, match="pip failed"):
            dev.ensure_environment(tmp_path, dev.RUN_FILES)
    assert len(calls) == 2

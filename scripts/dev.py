"""Set-up and everyday commands in one place; standard library only, the same on every system.

    python scripts/dev.py demo      segment the bundled sample picture with sam3-tiny into outputs/
    python scripts/dev.py test      lint, format, types, then every test that needs no extras
    python scripts/dev.py check     lint, format, types and the architecture tests only
    python scripts/dev.py fix       apply the linter's fixes and the formatter
    python scripts/dev.py run ...   any Python command line, e.g.  run -m sam3 info FILE
    python scripts/dev.py setup     only make the environment

Each command first makes a virtual environment (``.venv``, or ``--venv DIR``) and installs what
the command needs; later calls find it ready. ``--here`` uses the running Python as it is and
installs nothing. pip's own settings (``PIP_INDEX_URL``, ``PIP_EXTRA_INDEX_URL`` ...) are honoured,
for example to get a CPU-only build of PyTorch. Arguments after ``--`` go to pytest.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUN_FILES = ("requirements.txt",)
DEV_FILES = ("requirements.txt", "requirements-dev.txt")
MIN_PYTHON = (3, 10)
PYTEST_NO_TESTS = 5
PYTEST_EXIT = {
    1: "some tests failed",
    2: "the run was interrupted",
    3: "pytest had an internal error",
    4: "pytest was called with wrong options",
    PYTEST_NO_TESTS: "no test was collected",
}


def say(text: str) -> None:
    """Print one progress line at once, so that it keeps its place among the tools' own output."""
    print(f"[dev] {text}", flush=True)


def venv_python(folder: Path) -> Path:
    """Path of the interpreter inside a virtual environment."""
    windows = os.name == "nt"
    return folder / ("Scripts" if windows else "bin") / ("python.exe" if windows else "python")


def requirements_stamp(files: tuple[str, ...]) -> str:
    """Fingerprint of the requirement files and the Python version, to see when to install again."""
    digest = hashlib.sha256(repr(sys.version_info[:3]).encode())
    for name in files:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def read_stamps(path: Path) -> dict[str, str]:
    """Stamps of earlier installations; a missing or damaged file means none."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def ensure_environment(folder: Path, files: tuple[str, ...]) -> Path:
    """Make the virtual environment and install ``files`` unless that was done before."""
    python = venv_python(folder)
    stamp_file = folder / "sam3-installed.json"
    wanted = requirements_stamp(files)
    key = files[-1]
    stamps = read_stamps(stamp_file)
    if python.exists() and stamps.get(key) == wanted:
        return python
    if not python.exists():
        say(f"making a virtual environment in {folder}")
        venv.EnvBuilder(with_pip=True, clear=folder.exists()).create(folder)
        stamps = {}
    say(f"installing {key} (PyTorch is large: the first time takes some minutes)")
    started = time.monotonic()
    command = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    for name in files:
        command += ["-r", str(ROOT / name)]
    code = subprocess.run(command, cwd=ROOT).returncode
    if code:
        raise SystemExit(f"[dev] pip failed with exit code {code}; see its message above.")
    say(f"installed in {time.monotonic() - started:.0f} s")
    stamps[key] = wanted
    if key == DEV_FILES[-1]:
        stamps[RUN_FILES[-1]] = requirements_stamp(RUN_FILES)
    temporary = stamp_file.with_suffix(".tmp")
    temporary.write_text(json.dumps(stamps), encoding="utf-8")
    os.replace(temporary, stamp_file)
    return python


def call(title: str, command: list[str]) -> int:
    """Run one tool from the repository root and return its exit code."""
    say(title)
    environment = dict(os.environ)
    environment.setdefault("PYTHONUTF8", "1")
    return subprocess.run(command, cwd=ROOT, env=environment).returncode


def demo(python: Path) -> int:
    """Segment the bundled picture with the bundled checkpoint."""
    command = [str(python), "-m", "sam3", "segment", "sam3/assets/shapes.png"]
    command += ["red circle, blue triangle, yellow star", "--model", "sam3-tiny"]
    command += ["--output", "outputs"]
    return call("segmenting sam3/assets/shapes.png with sam3-tiny", command)


def static_checks(python: Path) -> dict[str, int]:
    """Linter, formatter (check only) and type checker; returns exit codes by name."""
    py = str(python)
    return {
        "lint": call("ruff check", [py, "-m", "ruff", "check", "."]),
        "format": call("ruff format --check", [py, "-m", "ruff", "format", "--check", "."]),
        "types": call("mypy", [py, "-m", "mypy"]),
    }


def pytest(python: Path, arguments: list[str]) -> int:
    """Run pytest; its exit code is explained when it is not 0."""
    code = call("pytest", [str(python), "-m", "pytest", "-q", *arguments])
    if code:
        say(f"pytest: {PYTEST_EXIT.get(code, 'ended by a signal or an unknown code')} ({code})")
    return code


def report(results: dict[str, int]) -> int:
    """Say how each step ended; 0 only when all of them passed."""
    for name, code in results.items():
        say(f"{name}: {'ok' if code == 0 else f'FAILED (exit code {code})'}")
    return 0 if all(code == 0 for code in results.values()) else 1


def parse(argv: list[str]) -> argparse.Namespace:
    """Command line of this script."""
    own, rest = argv, []
    if "--" in argv:
        cut = argv.index("--")
        own, rest = argv[:cut], argv[cut + 1 :]
    if "run" in own:
        cut = own.index("run")
        own, rest = own[: cut + 1], own[cut + 1 :] + rest
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["demo", "test", "check", "fix", "run", "setup"])
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", metavar="DIR")
    parser.add_argument("--here", action="store_true", help="use this Python, install nothing")
    namespace = parser.parse_args(own)
    namespace.rest = rest
    return namespace


def main(argv: list[str]) -> int:
    """Run one command and return its exit code."""
    if sys.version_info < MIN_PYTHON:
        raise SystemExit("[dev] Python 3.10 or newer is needed.")
    options = parse(argv)
    files = RUN_FILES if options.command in ("demo", "run") else DEV_FILES
    python = (
        Path(sys.executable) if options.here else ensure_environment(options.venv.absolute(), files)
    )
    if options.command == "demo":
        return demo(python)
    if options.command == "run":
        return subprocess.run([str(python), *options.rest], cwd=ROOT).returncode
    if options.command == "fix":
        call("ruff check --fix", [str(python), "-m", "ruff", "check", "--fix", "."])
        return call("ruff format", [str(python), "-m", "ruff", "format", "."])
    if options.command == "setup":
        return 0
    results = static_checks(python)
    if options.command == "check":
        results["architecture"] = pytest(python, ["tests/architecture", *options.rest])
        return report(results)
    # pytest comes last: its closing line is what a reader or a CI page looks for.
    results["tests"] = pytest(python, options.rest)
    return report(results)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Wrong use: exit codes and messages that say what to do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sam3.cli import segment
from sam3.errors import CheckpointMismatchError, DeviceError, DownloadError

ROOT = Path(__file__).resolve().parents[2]
Draw = Callable[..., Path]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "COMMAND"),
        (["paint"], "invalid choice: 'paint'"),
        (["segment"], "No picture was named"),
        (["segment", "red circle"], "No picture was named"),
        (["segment", "a.png"], "last argument must be the text"),
        (["segment", "a.png", "b.png"], "'b.png' is a file or folder"),
        (["segment", "-p", "red"], "No picture was named"),
        (["segment", "a.png", "red", "--confidence", "1.5"], "from 0 to 1"),
        (["segment", "a.png", "red", "--confidence", "nan"], "from 0 to 1"),
        (["segment", "a.png", "red", "--blur", "-1"], "whole number from 0 to 1024"),
        (["segment", "a.png", "red", "--offset", "1.5"], "whole number"),
        (["segment", "a.png", "red", "--precision", "int4"], "invalid choice: 'int4'"),
        (["segment", "a.png", "red", "--background-color", "#12"], "Cannot read the colour '#12'"),
        (["segment", "a.png", "red", "--box", "1,2,3"], "must be 4 numbers"),
        (["segment", "a.png", "red", "--box", "1,2,nan,4"], "must be 4 numbers"),
        (["segment", "a.png", "red", "--box", "5,2,3,4"], "X0 < X1"),
        (["segment", "a.png", "red", "--point", "x,y"], "must be 2 numbers"),
        (
            ["segment", "a.png", "red", "--units", "normalized", "--point", "15,10"],
            "not normalized",
        ),
        (["segment", ".", "red", "-o", "."], "both the input and the output folder"),
        (["segment", "a.png", "red", "-o", "a.png"], "is a file"),
        (["segment", "a.png", "red", "-v", "-q"], "not allowed with"),
        (["info"], "CHECKPOINT"),
    ],
)
def test_wrong_usage_exits_with_2(
    shell: Any, draw: Draw, arguments: list[str], message: str
) -> None:
    draw("a.png")
    draw("b.png")
    assert shell(*arguments) == 2
    assert message in shell.err
    assert shell.out == ""
    assert not Path("outputs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "sam4"], "no model 'sam4'"),
        (["--model", "sam3.1", "--no-download"], "sam3.1_multiplex_fp16.safetensors"),
        (["--model", ""], "No model was named"),
    ],
)
def test_a_model_that_is_not_there_exits_with_3(
    shell: Any, draw: Draw, arguments: list[str], message: str
) -> None:
    assert shell("segment", draw(), "red", *arguments) == 3
    assert message in shell.err
    assert shell.out == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CheckpointMismatchError("missing: backbone.x"), 3),
        (DownloadError("refused"), 3),
        (OSError("disk"), 3),
        (DeviceError("no such device"), 4),
    ],
)
def test_failures_while_loading(
    shell: Any, draw: Draw, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(segment, "load_processor", fail)
    assert shell("segment", draw(), "red") == code
    assert str(error) in shell.err


@pytest.mark.parametrize("name", ["quantum", "cpu:x", "meta:0:1"])
def test_an_unknown_device_is_a_device_error(name: str) -> None:
    with pytest.raises(DeviceError, match="cannot be used here"):
        segment.check_device(name)
    segment.check_device("cpu")


def test_a_missing_cuda_is_a_device_error() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has the device")
    with pytest.raises(DeviceError, match="not available"):
        segment.check_device("cuda")


def test_interruption_exits_with_130(
    shell: Any, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(segment, "do_picture", interrupt)
    assert shell("segment", draw(), "red") == 130
    assert "--resume" in shell.err


@pytest.mark.parametrize("command", [["--help"], ["segment", "--help"], ["info", "--help"]])
def test_help_works_as_a_program(command: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "sam3", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert "usage: python -m sam3" in result.stdout


def test_help_loads_no_torch() -> None:
    code = (
        "import sys; from sam3.cli import parse\n"
        "try: parse(['segment', '--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0

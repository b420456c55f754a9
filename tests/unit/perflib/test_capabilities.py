"""The switch of perflib, and capability checks that never import what they look for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sam3 import perflib
from sam3.perflib import capabilities

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("value", "enabled"), [(None, True), ("1", True), ("0", False), ("", False), ("yes", False)]
)
def test_switch_follows_the_environment(monkeypatch, value, enabled):
    if value is None:
        monkeypatch.delenv("USE_PERFLIB", raising=False)
    else:
        monkeypatch.setenv("USE_PERFLIB", value)
    assert perflib.is_enabled is enabled


def test_unknown_attribute():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = perflib.nothing


@pytest.mark.parametrize(("name", "there"), [("json", True), ("no_such_package_here", False)])
def test_has_package(name, there):
    assert capabilities.has_package(name) is there


def test_blocked_package_counts_as_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "flash_attn_interface", None)
    monkeypatch.setitem(sys.modules, "torch_generic_nms", None)
    monkeypatch.setitem(sys.modules, "triton", None)
    assert not capabilities.has_flash_attention_3()
    assert not capabilities.has_torch_generic_nms()
    assert not capabilities.has_triton()


def test_triton_needs_cuda_or_the_interpreter(monkeypatch):
    monkeypatch.setattr(capabilities, "has_package", lambda name: True)
    monkeypatch.setattr(capabilities, "has_cuda", lambda: False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert not capabilities.has_triton()
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert capabilities.has_triton()


def test_importing_perflib_imports_no_optional_package():
    code = (
        "import sys; sys.modules['triton'] = None\n"
        "import sam3.perflib.nms, sam3.perflib.triton.nms, sam3.perflib.compile\n"
        "import sam3.perflib.fa3, sam3.perflib.masks_ops, torch\n"
        "bad = {'flash_attn_interface', 'torch_generic_nms'} & set(sys.modules)\n"
        "assert not bad, bad\n"
        "assert not hasattr(torch.ops.flash, 'flash_attn_func')\n"
        "keep = sam3.perflib.nms.nms_masks(torch.ones(2), torch.ones(2, 3, 3), 0.5, 0.5)\n"
        "assert keep.tolist() == [False, True], keep\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr

"""Fixtures round a real ComfyUI. Tests here are marked `comfy`, and skipped without COMFYUI_DIR."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.comfy.comfy_driver import ComfyAPI, ComfyServer, comfyui_dir

HERE = Path(__file__).resolve().parent


@pytest.hookimpl(tryfirst=True)  # before marks select the tests
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder, and skip them where there is no ComfyUI."""
    missing = pytest.mark.skip(reason="COMFYUI_DIR does not name a ComfyUI folder")
    for item in items:
        if HERE in Path(item.path).parents:
            item.add_marker(pytest.mark.comfy)
            if comfyui_dir() is None:
                item.add_marker(missing)


@pytest.fixture(scope="session")
def comfy_server() -> Iterator[ComfyServer]:
    """One server with this pack and the installed frontend, for all tests of the session."""
    with ComfyServer(extra_packs=(HERE / "other_pack",)) as server:
        yield server


@pytest.fixture(scope="session")
def comfy_api(comfy_server: ComfyServer) -> ComfyAPI:
    """Client of `comfy_server`."""
    return ComfyAPI(comfy_server.url)

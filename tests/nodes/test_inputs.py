"""Input names, order, defaults, limits and menus: the contract with saved workflows."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

REQUIRED = ["image", "prompt", "sam3_model", "device", "confidence_threshold"]
OPTIONAL = [
    "mask_blur", "mask_offset", "invert_output", "unload_model", "background", "background_color",
]  # fmt: skip


def spec_of(node: Any, name: str) -> tuple[Any, dict[str, Any]]:
    types = node.INPUT_TYPES()
    return (types["required"] | types["optional"])[name]


def test_names_and_order(node: Any) -> None:
    types = node.INPUT_TYPES()
    assert list(types) == ["required", "optional"]
    assert list(types["required"]) == REQUIRED
    assert list(types["optional"]) == OPTIONAL


def test_the_method_takes_the_inputs_with_the_same_defaults(node: Any) -> None:
    parameters = inspect.signature(node.segment).parameters
    assert list(parameters) == REQUIRED + OPTIONAL
    for name in REQUIRED:
        assert parameters[name].default is inspect.Parameter.empty
    for name in OPTIONAL:
        kind, options = spec_of(node, name)
        assert parameters[name].default == options["default"]


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("image", "IMAGE", {}),
        ("prompt", "STRING", {"default": "", "multiline": True}),
        ("confidence_threshold", "FLOAT", {"default": 0.5, "min": 0.05, "max": 0.95, "step": 0.01}),
        ("mask_blur", "INT", {"default": 0, "min": 0, "max": 64}),
        ("mask_offset", "INT", {"default": 0, "min": -64, "max": 64}),
        ("invert_output", "BOOLEAN", {"default": False}),
        ("unload_model", "BOOLEAN", {"default": False}),
        ("background_color", "COLORCODE", {"default": "#222222"}),
    ],
)
def test_types_and_limits(node: Any, name: str, kind: str, options: dict[str, Any]) -> None:
    found_kind, found = spec_of(node, name)
    assert found_kind == kind
    assert {key: found[key] for key in options} == options


def test_menus(node: Any) -> None:
    assert spec_of(node, "device")[0] == ["Auto", "CPU", "GPU"]
    assert spec_of(node, "background")[0] == ["Alpha", "Color"]
    models, options = spec_of(node, "sam3_model")
    assert models == ["sam3", "sam3.1", "sam3-tiny"] and options["default"] == "sam3"
    for name in ("device", "background"):
        assert spec_of(node, name)[1].get("default", spec_of(node, name)[0][0]) in ("Auto", "Alpha")


@pytest.mark.parametrize("name", REQUIRED + OPTIONAL)
def test_every_input_has_a_tooltip(node: Any, name: str) -> None:
    assert len(spec_of(node, name)[1]["tooltip"]) > 20


def test_the_prompts_tooltip_tells_what_empty_means(node: Any) -> None:
    tooltip = spec_of(node, "prompt")[1]["tooltip"]
    assert '"object"' in tooltip and "32 tokens" in tooltip and "commas or lines" in tooltip


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_model_menu_lists_files_found(host: Any, node: Any) -> None:
    put(host.models_dir / "sam3", "sam3.pt", "mine.safetensors", "sub/other.pth", "notes.txt")
    put(
        host.models_dir / "checkpoints",
        "sd_xl.safetensors", "sam3.1_multiplex_fp16.safetensors", "my_SAM3_tuned.safetensors",
    )  # fmt: skip
    assert spec_of(node, "sam3_model")[0] == [
        "sam3", "sam3.1", "sam3-tiny",
        "mine.safetensors", "my_SAM3_tuned.safetensors", str(Path("sub/other.pth")),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["sam3", "sam3.1", "sam3-tiny", "mine.safetensors", None])
def test_validation_accepts(host: Any, node: Any, name: str | None) -> None:
    put(host.models_dir / "sam3", "mine.safetensors")
    assert node.VALIDATE_INPUTS(sam3_model=name) is True


@pytest.mark.parametrize("name", ["gone.safetensors", "", "Auto", 0.5, True, "../secret.pt", []])
def test_validation_refuses_with_a_message(host: Any, node: Any, name: object) -> None:
    put(host.models_dir, "secret.pt")
    (host.models_dir / "sam3").mkdir()
    message = node.VALIDATE_INPUTS(sam3_model=name)
    assert isinstance(message, str)
    assert repr(name) in message and "sam3-tiny" in message
    assert str(host.models_dir / "sam3") in message


def test_validation_refuses_a_path_outside_the_model_folders(host: Any, node: Any) -> None:
    put(host.models_dir, "secret.pt")
    assert isinstance(node.VALIDATE_INPUTS(sam3_model=str(host.models_dir / "secret.pt")), str)

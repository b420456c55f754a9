"""The example workflows fit the node's contract and are whole graphs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "example_workflows"
FILES = sorted(FOLDER.glob("*.json"))
NODE = "SAM3SegmentV3"
# The order workflows are saved in: the colour widget stands at the top of the node.
SAVED_ORDER = [
    "background_color", "prompt", "sam3_model", "device", "confidence_threshold", "mask_blur",
    "mask_offset", "invert_output", "unload_model", "background",
]  # fmt: skip
CORE_NODES = {
    "CheckpointLoaderSimple", "CLIPTextEncode", "EmptyImage", "FeatherMask", "GrowMask",
    "ImageCompositeMasked", "KSampler", "LoadImage", "MaskToImage", "Note", "PreviewImage",
    "SaveImage", "SetLatentNoiseMask", "VAEDecode", "VAEEncode", "VAEEncodeForInpaint",
}  # fmt: skip
NEED_MODELS = {"CheckpointLoaderSimple", "KSampler", "VAEEncode", "VAEDecode", "LoadImage"}

per_file = pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def test_both_are_there() -> None:
    inpaint, tiny = (
        {n["type"] for n in read(FOLDER / f"{name}.json")["nodes"]}
        for name in ("sam3_inpaint", "sam3_tiny_core_nodes")
    )
    assert {"LoadImage", NODE, "GrowMask", "FeatherMask"} <= inpaint
    assert {"VAEEncodeForInpaint", "SetLatentNoiseMask", "KSampler"} <= inpaint
    assert NODE in tiny and not tiny & NEED_MODELS


@per_file
def test_only_this_packs_node_and_core_nodes(path: Path) -> None:
    assert {n["type"] for n in read(path)["nodes"]} <= CORE_NODES | {NODE}


@per_file
def test_links_are_consistent(path: Path) -> None:
    workflow = read(path)
    nodes = {n["id"]: n for n in workflow["nodes"]}
    assert len(nodes) == len(workflow["nodes"]) and workflow["last_node_id"] == max(nodes)
    assert workflow["last_link_id"] == max(link[0] for link in workflow["links"])
    for number, source, out, target, slot, kind in workflow["links"]:
        assert number in nodes[source]["outputs"][out]["links"]
        assert nodes[source]["outputs"][out]["type"] == kind
        assert nodes[target]["inputs"][slot]["link"] == number
        assert nodes[target]["inputs"][slot]["type"] == kind
    linked = [i["link"] for n in nodes.values() for i in n["inputs"] if i["link"] is not None]
    assert sorted(linked) == sorted(link[0] for link in workflow["links"])


@per_file
def test_widget_values_of_the_node_are_valid(path: Path, node: Any) -> None:
    types = node.INPUT_TYPES()
    inputs = types["required"] | types["optional"]
    assert set(SAVED_ORDER) == set(inputs) - {"image"}
    for saved in [n for n in read(path)["nodes"] if n["type"] == NODE]:
        assert [o["name"] for o in saved["outputs"]] == list(node.RETURN_NAMES)
        values = dict(zip(SAVED_ORDER, saved["widgets_values"], strict=True))
        for name, value in values.items():
            kind, options = inputs[name]
            if isinstance(kind, list):
                assert value in kind, name
            elif kind in ("INT", "FLOAT"):
                assert options["min"] <= value <= options["max"], name
            else:
                assert isinstance(value, bool if kind == "BOOLEAN" else str), name


@per_file
def test_no_two_nodes_overlap(path: Path) -> None:
    boxes = [
        (n["pos"][0], n["pos"][1] - 30, n["pos"][0] + n["size"][0], n["pos"][1] + n["size"][1])
        for n in read(path)["nodes"]
    ]
    for i, a in enumerate(boxes):
        for b in boxes[i + 1 :]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], (a, b)

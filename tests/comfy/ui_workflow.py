"""Turn a workflow as the editor saves it into the API format that a server runs."""

from __future__ import annotations

from typing import Any

WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COLORCODE"}
SKIPPED_MODES = {2, 4}  # muted, bypassed
NO_CODE = {"Note", "MarkdownNote"}


def widget_names(info: dict[str, Any]) -> list[str]:
    """Names of a node's widgets in saved order; this pack's colour widget stands on top."""
    inputs = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
    names: list[str] = []
    for name, spec in inputs.items():
        kind = spec[0]
        if isinstance(kind, list) or kind in WIDGET_TYPES | {"COMBO"}:
            names.insert(0 if kind == "COLORCODE" else len(names), name)
        options = spec[1] if len(spec) > 1 else {}
        if options.get("control_after_generate"):
            names.append("")  # the frontend's own widget, never sent
    return names


def to_api(workflow: dict[str, Any], object_info: dict[str, Any]) -> dict[str, Any]:
    """The API prompt of a saved workflow (no subgraphs, no bypassed nodes on the way)."""
    sources = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    prompt: dict[str, Any] = {}
    for node in workflow["nodes"]:
        if node["mode"] in SKIPPED_MODES or node["type"] in NO_CODE:
            continue
        names = widget_names(object_info[node["type"]])
        inputs = {n: v for n, v in zip(names, node["widgets_values"], strict=False) if n}
        for socket in node["inputs"]:
            if socket["link"] is not None:
                inputs[socket["name"]] = sources[socket["link"]]
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt

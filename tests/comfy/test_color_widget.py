"""The colour widget in ComfyUI's real page: LiteGraph and Vue nodes, older and newer frontend."""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.comfy.comfy_browser import Page, find_chromium
from tests.comfy.comfy_driver import ComfyAPI, ComfyServer, frontend_root

pytestmark = [
    pytest.mark.comfy,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium on PATH, none in CHROMIUM"),
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="no playwright"),
]

NODE, COLOR = "SAM3SegmentV3", "background_color"
NEWER_FRONTEND = "1.58.1"  # has Vue nodes that draw other packs' canvas widgets
OTHER_PACK = Path(__file__).resolve().parent / "other_pack"
ORANGE = (255, 136, 0)
SHOWN = 0.2  # of the widget's area: the swatch is half of it, less the text on it

# Every value differs from its default and from the others, so that no shift can hide.
REST = {
    "prompt": "a red ball",
    "sam3_model": "sam3-tiny",
    "device": "CPU",
    "confidence_threshold": 0.37,
    "mask_blur": 3,
    "mask_offset": -2,
    "invert_output": True,
    "unload_model": True,
    "background": "Color",
}
VALUES = {COLOR: "#ff8800", **REST}


@pytest.fixture(scope="session")
def newer_server() -> Iterator[ComfyServer]:
    """A server with the newer frontend."""
    try:
        static = frontend_root(NEWER_FRONTEND)
    except (subprocess.CalledProcessError, OSError) as error:
        pytest.skip(f"frontend {NEWER_FRONTEND} cannot be had: {error}")
    with ComfyServer(extra_packs=(OTHER_PACK,), front_end_root=static) as server:
        yield server


@pytest.fixture(scope="module", params=["installed-litegraph", "newer-litegraph", "newer-vue"])
def page(request: pytest.FixtureRequest) -> Iterator[Page]:
    """The open page in each way that nodes are drawn."""
    newer, vue = request.param.startswith("newer"), request.param.endswith("vue")
    server = request.getfixturevalue("newer_server" if newer else "comfy_server")
    ComfyAPI(server.url).set_setting("Comfy.VueNodes.Enabled", vue)
    with Page(server.url, vue) as opened:
        yield opened


@pytest.fixture
def node(page: Page) -> Any:
    """One fresh node on an empty graph; the undo history knows it."""
    page.clear()
    node = page.add_node(NODE)
    page.click_background()
    return node


def _workflow(values: list[Any], **extra: Any) -> dict[str, Any]:
    node = {"id": 7, "type": NODE, "pos": [420, 120], "size": [400, 300], "flags": {}, "order": 0}
    node |= {"mode": 0, "inputs": [], "outputs": [], "properties": {}, "widgets_values": values}
    parts = {"nodes": [node | extra], "links": [], "groups": [], "config": {}, "extra": {}}
    return {"last_node_id": 7, "last_link_id": 0, "version": 0.4, **parts}


def test_widget_stands_at_the_top_with_the_default(page: Page, node: Any) -> None:
    assert page.widget_names(node) == [COLOR, *REST]
    assert page.values(node)[COLOR] == "#222222"
    assert page.shown_pixels(node, COLOR, (34, 34, 34)) > SHOWN


def test_click_opens_the_picker_and_the_choice_is_stored_and_shown(page: Page, node: Any) -> None:
    assert page.shown_pixels(node, COLOR, ORANGE) == 0
    opened = page.pick(node, COLOR, "#ff8800")
    assert opened == [{"value": "#222222", "connected": True}]
    assert page.values(node)[COLOR] == "#ff8800"
    assert page.shown_pixels(node, COLOR, ORANGE) > SHOWN
    assert page.color_inputs() == 0
    # the next picker starts from the new value
    assert page.click_widget(node, COLOR)[0]["value"] == "#ff8800"
    page.click_background()


def test_the_queued_prompt_has_every_value(page: Page, node: Any) -> None:
    page.set_values(node, REST)
    page.pick(node, COLOR, "#ff8800")
    page.connect(page.add_node("EmptyImage", 90, 150), node, "image")
    page.connect(node, page.add_node("PreviewImage", 900, 150), "images")
    sent = page.run()[str(node)]["inputs"]
    assert {name: sent[name] for name in VALUES} == VALUES


def test_save_and_reload_keep_every_value(page: Page, node: Any) -> None:
    page.set_values(node, REST)
    page.pick(node, COLOR, "#ff8800")
    saved = page.serialize()
    assert saved["nodes"][0]["widgets_values"] == list(VALUES.values())
    page.clear()
    page.load(saved)
    (again,) = page.nodes(NODE)
    assert page.values(again) == VALUES
    assert page.shown_pixels(again, COLOR, ORANGE) > SHOWN


NATURAL = [*REST.values(), "#ff8800"]
SAVED = {
    "colour-first": (_workflow(["#ff8800", *REST.values()]), VALUES),
    "colour-last": (_workflow(NATURAL), VALUES),
    "no-colour": (_workflow(list(REST.values())), {**VALUES, COLOR: "#222222"}),
    "colour-last-with-names": (_workflow(NATURAL, widgets_values_named=VALUES), VALUES),
    "colour-name": (_workflow([*REST.values(), "red"]), {**VALUES, COLOR: "red"}),
    "shifted-and-cut": (
        _workflow(["#ff8800", *list(REST.values())[:-1]]),
        {**VALUES, "background": "Alpha"},
    ),
}


@pytest.mark.parametrize("order", SAVED)
def test_workflows_of_every_saved_order_load(page: Page, order: str) -> None:
    workflow, expected = SAVED[order]
    page.clear()
    page.load(workflow)
    (node,) = page.nodes(NODE)
    assert page.values(node) == expected


@pytest.mark.parametrize("picked_twice", [False, True])
def test_one_undo_takes_back_one_choice(page: Page, node: Any, picked_twice: bool) -> None:
    before = "#222222"
    if picked_twice:
        page.pick(node, COLOR, "#00aa55")
        before = "#00aa55"
    steps = page.undo_steps()
    page.pick(node, COLOR, "#ff8800")
    assert page.undo_steps() == steps + 1
    page.press("Control+z")
    (undone,) = page.nodes(NODE)
    assert page.values(undone)[COLOR] == before
    assert page.shown_pixels(undone, COLOR, ORANGE) == 0
    page.press("Control+y")
    (redone,) = page.nodes(NODE)
    assert page.values(redone)[COLOR] == "#ff8800"
    assert page.shown_pixels(redone, COLOR, ORANGE) > SHOWN
    # the widget still answers after its node was replaced by undo
    page.pick(redone, COLOR, "#00aa55")
    assert page.values(redone)[COLOR] == "#00aa55"
    assert page.shown_pixels(redone, COLOR, (0, 170, 85)) > SHOWN


def test_cancelled_pickers_leave_nothing_behind(page: Page, node: Any) -> None:
    steps, values = page.undo_steps(), page.values(node)
    for _ in range(3):
        assert len(page.click_widget(node, COLOR)) == 1
        assert page.color_inputs() <= 1
    page.click_background()
    assert page.color_inputs() == 0
    assert page.values(node) == values
    assert page.undo_steps() == steps


def test_trying_colours_is_shown_at_once_and_is_one_step(page: Page, node: Any) -> None:
    steps = page.undo_steps()
    page.click_widget(node, COLOR)
    for color in ("#ff0000", "#00ff00", "#ff8800"):
        page.answer_picker(color, events=("input",))
        assert page.values(node)[COLOR] == color
    assert page.shown_pixels(node, COLOR, ORANGE) > SHOWN
    page.click_background()  # some browsers send no change event
    assert page.values(node)[COLOR] == "#ff8800"
    assert page.undo_steps() == steps + 1


TYPED = {
    "#0f0": (0, 255, 0),
    "cornflowerblue": (100, 149, 237),
    "rgb(250, 250, 210)": (250, 250, 210),
    "#336699ff": (51, 102, 153),
}


@pytest.mark.parametrize("text", TYPED)
def test_typed_values_keep_their_text_and_are_shown(page: Page, text: str) -> None:
    page.clear()
    page.load(_workflow([text, *REST.values()]))
    (node,) = page.nodes(NODE)
    assert page.values(node)[COLOR] == text
    assert page.shown_pixels(node, COLOR, TYPED[text]) > SHOWN
    assert (
        page.js("async () => (await window.app.graphToPrompt()).output")["7"]["inputs"][COLOR]
        == text
    )


def test_alpha_survives_the_picker(page: Page, node: Any) -> None:
    page.set_values(node, {COLOR: "#33669980"})
    assert page.pick(node, COLOR, "#ff8800")[0]["value"] == "#336699"
    assert page.values(node)[COLOR] == "#ff880080"


def test_nodes_of_other_packs_keep_their_order(page: Page) -> None:
    page.clear()
    other = page.add_node("OtherPackColor")
    assert page.widget_names(other) == ["label", "code", "after"]
    assert page.pick(other, "code", "#ff8800") != []
    assert page.values(other) == {"label": "other", "code": "#ff8800", "after": 0.25}


GREEDY_PACK = """() => {
  const make = (node, name, value) => node.addCustomWidget({ type: "COLORCODE", name, value,
    options: {}, draw(ctx, n, w, y, h) { ctx.fillRect(0, y, w, h); }, mouse() { return false; } });
  const grab = (node) => {
    if (!node.widgets?.some((w) => w.type === "COLORCODE")) return;
    node.widgets.unshift(make(node, "background_color", "#999999"));
    node.widgets.pop();
  };
  const type = window.LiteGraph.registered_node_types.SAM3SegmentV3.prototype;
  const { onNodeCreated } = type;
  type.onNodeCreated = function () { onNodeCreated?.apply(this, arguments); grab(this); };
  window.app.registerExtension({
    name: "test.GreedyColorPack",
    getCustomWidgets: () => ({ COLORCODE: (node, name, [, config]) =>
      ({ widget: make(node, name, config?.default) }) }),
    nodeCreated: grab,
  });
}"""


def test_a_pack_that_took_over_the_type_does_no_harm(page: Page) -> None:
    try:
        page.js(GREEDY_PACK)
        page.page.wait_for_timeout(300)
        page.clear()
        node = page.add_node(NODE)
        assert page.widget_names(node) == [COLOR, *REST]
        page.pick(node, COLOR, "#ff8800")
        assert page.values(node)[COLOR] == "#ff8800"
        assert page.shown_pixels(node, COLOR, ORANGE) > SHOWN
        page.clear()
        page.load(_workflow(NATURAL))
        (loaded,) = page.nodes(NODE)
        assert page.values(loaded) == VALUES
    finally:
        page.open()  # without that pack again


def test_copies_keep_every_value(page: Page, node: Any) -> None:
    page.set_values(node, VALUES)
    page.js("id => { const c = window.app.canvas; c.selectNode(c.graph.getNodeById(id));"
            " c.copyToClipboard(); c.pasteFromClipboard(); }", node)  # fmt: skip
    page.settle()
    copies = page.nodes(NODE)
    assert len(copies) == 2
    assert [page.values(n) for n in copies] == [VALUES, VALUES]


def test_the_scripts_cause_no_errors(page: Page, node: Any) -> None:
    page.pick(node, COLOR, "#ff8800")
    own = ("sam3_color_widget", "/lib/color", "/lib/swatch", "/lib/vue_row", "/lib/widget_order")
    said = [*page.errors, *(t for t in page.console if t.startswith(("error", "warning")))]
    assert [text for text in said if any(name in text for name in own)] == []

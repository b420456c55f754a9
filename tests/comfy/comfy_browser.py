"""Drive ComfyUI's real web page in headless Chromium (Playwright with the system's browser).

Environment: CHROMIUM (browser binary, default: the one on PATH).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

Json = dict[str, Any]
NodeId = str | int

# A busy machine takes minutes for what an idle one does in seconds.
PATIENCE_MS = 600_000

_ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# A native colour picker cannot be driven headless: remember each input that asks for one.
_CATCH_PICKERS = """(() => {
  window.__pickers = [];
  const click = HTMLInputElement.prototype.click;
  const caught = (el) => window.__pickers.push({ el, value: el.value, connected: el.isConnected });
  HTMLInputElement.prototype.click = function () {
    return this.type === "color" ? void caught(this) : click.apply(this, arguments);
  };
  HTMLInputElement.prototype.showPicker = function () { if (this.type === "color") caught(this); };
})();"""

_READY = """() => window.app?.graph && window.app.canvas && window.app.extensionManager
  && Object.keys(window.LiteGraph?.registered_node_types ?? {}).length > 20
  && !document.querySelector('#splash-loader, .p-blockui-mask, #vue-app .p-progressspinner')"""

_WIDGET_RECT = """([id, name]) => {
  const c = window.app.canvas, r = c.canvas.getBoundingClientRect(), d = c.ds;
  const n = c.graph.getNodeById(id), w = n.widgets.find(w => w.name === name);
  return { x: r.left + (n.pos[0] + d.offset[0]) * d.scale,
    y: r.top + (n.pos[1] + (w.last_y ?? w.y) + d.offset[1]) * d.scale,
    width: n.size[0] * d.scale, height: (w.computedHeight ?? 20) * d.scale }; }"""


def find_chromium() -> str | None:
    """The browser binary, or None."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = (os.environ.get("CHROMIUM"), *map(shutil.which, names))
    return next((c for c in found if c and Path(c).is_file()), None)


class Page:
    """Context manager round one open page of a ComfyUI server.

    Args:
        url: the server.
        vue: whether the page was told to draw nodes with Vue ("Nodes 2.0").
    """

    def __init__(self, url: str, vue: bool) -> None:
        self.url, self.vue = url, vue
        self.console: list[str] = []
        self.errors: list[str] = []

    def __enter__(self) -> Page:
        from playwright.sync_api import sync_playwright

        self._profile = tempfile.mkdtemp(prefix="comfy_page_")
        self._playwright = sync_playwright().start()
        self._context = self._playwright.chromium.launch_persistent_context(
            self._profile,
            executable_path=find_chromium(),
            headless=True,
            args=_ARGS,
            viewport={"width": 1400, "height": 950},
            locale="en-US",
        )
        self._context.add_init_script(_CATCH_PICKERS)
        self._context.route(re.compile(r"^https?://(?!127\.0\.0\.1)"), lambda r: r.abort())
        self.page = self._context.pages[0]
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("console", lambda m: self.console.append(f"{m.type}: {m.text}"))
        self.page.on("pageerror", lambda e: self.errors.append(f"{e}\n{e.stack}"))
        self.page.on("dialog", lambda d: d.accept())
        try:
            self.open()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self._context.close()
        self._playwright.stop()
        shutil.rmtree(self._profile, ignore_errors=True)

    def open(self) -> None:
        """Open the page, or open it anew."""
        self.page.goto(self.url, wait_until="domcontentloaded")
        self.page.wait_for_function(_READY)
        self.page.wait_for_timeout(1200)
        for _ in range(3):
            if self.page.locator(".p-dialog-mask:visible, [role=dialog]:visible").count():
                self.page.keyboard.press("Escape")
                self.page.wait_for_timeout(350)

    def js(self, code: str, arg: Any = None) -> Any:
        """What a JavaScript function of one argument returns."""
        return self.page.evaluate(code, arg)

    def settle(self, ms: int = 400) -> None:
        """Have the canvas drawn, and wait."""
        self.js(
            "() => { const c = window.app.canvas; c.setDirty(true, true); c.draw(true, true); }"
        )
        self.page.wait_for_timeout(ms)

    # -- graph
    def clear(self) -> None:
        """An empty graph at scale 1, known to the undo history."""
        self.js("() => { window.app.graph.clear(); const d = window.app.canvas.ds;"
                " d.scale = 1; d.offset[0] = 0; d.offset[1] = 0; }")  # fmt: skip
        self.click_background()

    def click_background(self) -> None:
        """Click an empty place, as somebody does who leaves a picker."""
        self.page.mouse.click(1200, 800)
        self.settle()

    def add_node(self, kind: str, x: int = 420, y: int = 120) -> NodeId:
        """Add a node; its id."""
        node = self.js(
            """([kind, pos]) => { const n = window.LiteGraph.createNode(kind); n.pos = pos;
                window.app.graph.add(n); return n.id; }""",
            [kind, [x, y]],
        )
        self.settle(600)
        return node

    def connect(self, source: NodeId, target: NodeId, input_name: str) -> None:
        """Link the first output of a node to an input of another."""
        self.js(
            """([a, b, name]) => { const g = window.app.graph, B = g.getNodeById(b);
                g.getNodeById(a).connect(0, B, B.inputs.findIndex(i => i.name === name)); }""",
            [source, target, input_name],
        )

    def nodes(self, kind: str) -> list[NodeId]:
        """The ids of all nodes of a type."""
        code = "k => window.app.graph._nodes.filter(n => n.type === k).map(n => n.id)"
        return list(self.js(code, kind))

    def values(self, node: NodeId) -> Json:
        """Widget name -> value, in the order of the widgets."""
        code = "id => window.app.graph.getNodeById(id).widgets.map(w => [w.name, w.value])"
        return dict(self.js(code, node))

    def widget_names(self, node: NodeId) -> list[str]:
        """The names of the widgets in order, with any that occur twice."""
        code = "id => window.app.graph.getNodeById(id).widgets.map(w => w.name)"
        return list(self.js(code, node))

    def set_values(self, node: NodeId, values: Json) -> None:
        """Set widgets as an extension does: the value, then its callback."""
        self.js(
            """([id, values]) => { const n = window.app.graph.getNodeById(id);
                for (const w of n.widgets) if (w.name in values) {
                  w.value = values[w.name]; w.callback?.(w.value); } }""",
            [node, values],
        )
        self.settle()

    # -- the colour widget
    def widget_rect(self, node: NodeId, name: str) -> dict[str, float]:
        """Where a canvas-drawn widget lies on the page: x, y, width, height."""
        if self.vue:
            root = self.page.locator(f'[data-node-id="{node}"]').first
            return root.locator("canvas.cursor-crosshair").first.bounding_box()
        return self.js(_WIDGET_RECT, [node, name])

    def click_widget(self, node: NodeId, name: str) -> list[Json]:
        """Click the middle of a widget; the pickers that this opened."""
        self.js("() => { window.__pickers.length = 0; }")
        r = self.widget_rect(node, name)
        self.page.mouse.click(r["x"] + r["width"] / 2, r["y"] + r["height"] / 2)
        for _ in range(20):  # at most 8 s for the first; a second one would come with it
            self.page.wait_for_timeout(400)
            if self.js("() => window.__pickers.length"):
                break
        code = "() => window.__pickers.map(({ value, connected }) => ({ value, connected }))"
        return list(self.js(code))

    def answer_picker(self, value: str, events: tuple[str, ...] = ("input", "change")) -> None:
        """Answer the picker that was opened last."""
        self.js(
            """([value, events]) => { const { el } = window.__pickers.at(-1); el.value = value;
                for (const e of events) el.dispatchEvent(new Event(e, { bubbles: true })); }""",
            [value, list(events)],
        )
        self.settle()

    def pick(self, node: NodeId, name: str, value: str) -> list[Json]:
        """Click a colour widget and choose a colour; the pickers that the click opened."""
        opened = self.click_widget(node, name)
        if opened:
            self.answer_picker(value)
        return opened

    def color_inputs(self) -> int:
        """How many `<input type=color>` are in the page."""
        return int(self.js("() => document.querySelectorAll('input[type=color]').length"))

    def shown_pixels(self, node: NodeId, name: str, rgb: tuple[int, int, int]) -> float:
        """The share of the widget's area on the page that has about this colour, 0 to 1."""
        import io

        from PIL import Image

        self.page.mouse.move(1200, 800)
        self.settle()
        shot = self.page.screenshot(clip=self.widget_rect(node, name))
        data = Image.open(io.BytesIO(shot)).convert("RGB").tobytes()
        pixels = [data[i : i + 3] for i in range(0, len(data), 3)]
        near = sum(all(abs(p - c) <= 8 for p, c in zip(px, rgb, strict=True)) for px in pixels)
        return near / len(pixels)

    # -- history and workflow
    def undo_steps(self) -> int:
        """Length of the undo history of the open workflow."""
        return int(
            self.js(
                "() => window.app.extensionManager.workflow.activeWorkflow"
                ".changeTracker.undoQueue.length"
            )
        )

    def press(self, keys: str) -> None:
        """Press keys on the canvas and wait until the page has followed."""
        self.page.mouse.move(1200, 800)
        self.page.keyboard.press(keys)
        self.page.wait_for_timeout(1500)
        self.settle()

    def serialize(self) -> Json:
        """The workflow as it would be saved."""
        return dict(self.js("() => JSON.parse(JSON.stringify(window.app.graph.serialize()))"))

    def load(self, workflow: Json) -> None:
        """Open a workflow through the page's own file input."""
        path = Path(self._profile) / "workflow.json"
        path.write_text(json.dumps(workflow))
        self.page.locator("#comfy-file-input").first.set_input_files(str(path))
        self.page.wait_for_function(
            "n => window.app.graph._nodes.length === n", arg=len(workflow["nodes"])
        )
        self.page.wait_for_timeout(1500)
        self.js(
            "() => { const d = window.app.canvas.ds; d.scale = 1; d.offset[0] = d.offset[1] = 0; }"
        )
        self.settle()

    def run(self) -> Json:
        """Click Run; the prompt that the page sent to the server."""
        test_id = '[data-testid="queue-button"]'
        button = self.page.locator(f"{test_id} button:visible, button{test_id}:visible")
        with self.page.expect_request(
            lambda r: r.method == "POST" and r.url.endswith("/prompt")
        ) as sent:
            button.first.click()
        return dict(sent.value.post_data_json["prompt"])

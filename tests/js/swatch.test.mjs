import assert from "node:assert/strict";
import { test } from "node:test";

import { contrast, flatten, parseColor } from "../../js/lib/color.js";
import { drawColorRow, fitText } from "../../js/lib/swatch.js";

/** A canvas context that notes what is drawn; every letter is 6 wide. */
function recorder() {
  const noted = { texts: [], rects: [], strokes: [] };
  const context = {
    ...noted,
    save() {},
    restore() {},
    beginPath() {},
    clip() {},
    fill() {},
    roundRect() {},
    measureText: (text) => ({ width: 6 * text.length }),
    fillRect: (x, y, width, height) => noted.rects.push({ style: context.fillStyle, x, y, width, height }),
    fillText: (text, x, y) => noted.texts.push({ text, style: context.fillStyle, x, y }),
    stroke: () => noted.strokes.push(context.strokeStyle),
  };
  return context;
}

const THEME = {
  background: "#101010",
  outline: "#666666",
  label: "#999999",
  filled: true,
  swatchX: 100,
  inset: 2,
  labelX: 15,
};
const ROW = { x: 10, y: 50, width: 200, height: 20 };

function draw(value, options = {}) {
  const ctx = recorder();
  const look = { label: "background_color", value, color: parseColor(value), showText: true, theme: THEME };
  drawColorRow(ctx, ROW, { ...look, ...options });
  return ctx;
}

test("the value is readable on every shade it is drawn on", () => {
  const steps = [0, 60, 90, 128, 160, 200, 255];
  for (const r of steps) {
    for (const g of steps) {
      for (const b of steps) {
        for (const a of [0, 0.25, 0.5, 0.75, 1]) {
          const color = { r, g, b, a };
          const ctx = draw("x", { color });
          const text = parseColor(ctx.texts.find((t) => t.text === "x").style);
          const checks = ctx.rects.map((rect) => rect.style).filter((style) => style.startsWith("#"));
          assert.equal(checks.length > 0, a < 1, "checks lie behind transparent colours only");
          for (const below of new Set(a < 1 ? checks : ["#000000"])) {
            const ratio = contrast(text, flatten(color, parseColor(below)));
            assert.ok(ratio >= 4, `${JSON.stringify(color)} on ${below}: ${ratio}`);
          }
        }
      }
    }
  }
});

test("label, swatch and value stay inside the row", () => {
  const ctx = draw("#ff8800");
  const [label, value] = ctx.texts;
  assert.deepEqual([label.text, label.x, label.y], ["background_c…", 25, 60]);
  assert.deepEqual([value.text, value.x, value.y], ["#ff8800", 159, 60]);
  const swatch = { style: "rgba(255, 136, 0, 1)", x: 110, y: 52, width: 98, height: 16 };
  assert.deepEqual(ctx.rects, [swatch]);
});

test("a text that is no colour is marked and never painted", () => {
  const ctx = draw("nonsense");
  assert.deepEqual(ctx.rects.map((rect) => rect.style), [THEME.background]);
  const mark = ctx.texts.find((t) => t.text === "nonsense").style;
  assert.equal(ctx.strokes.at(-1), mark);
  assert.notEqual(mark, THEME.outline);
});

test("far away there is a swatch and no text", () => {
  const ctx = draw("#ff8800", { showText: false });
  assert.deepEqual(ctx.texts, []);
  assert.equal(ctx.rects.length, 1);
});

test("texts are cut to their room", () => {
  const ctx = recorder();
  assert.equal(fitText(ctx, "abcdef", 36), "abcdef");
  assert.equal(fitText(ctx, "abcdef", 35), "abcd…");
  assert.equal(fitText(ctx, "abcdef", 5), "");
});

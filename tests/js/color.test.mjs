import assert from "node:assert/strict";
import { test } from "node:test";

import {
  contrast,
  flatten,
  looksLikeColor,
  luminance,
  parseColor,
  readableTextColor,
  toPickerValue,
  withPicked,
} from "../../js/lib/color.js";

const opaque = (r, g, b) => ({ r, g, b, a: 1 });

const PARSED = [
  ["#222222", opaque(34, 34, 34)],
  ["#FF8800", opaque(255, 136, 0)],
  ["  #ff8800 ", opaque(255, 136, 0)],
  ["ff8800", opaque(255, 136, 0)],
  ["#f80", opaque(255, 136, 0)],
  ["#f808", { r: 255, g: 136, b: 0, a: 136 / 255 }],
  ["#ff880080", { r: 255, g: 136, b: 0, a: 128 / 255 }],
  ["rgb(1, 2, 3)", opaque(1, 2, 3)],
  ["rgb(1 2 3)", opaque(1, 2, 3)],
  ["RGB(100%, 0%, 50%)", opaque(255, 0, 128)],
  ["rgb(300, -5, 3)", opaque(255, 0, 3)],
  ["rgba(1, 2, 3, 0.5)", { r: 1, g: 2, b: 3, a: 0.5 }],
  ["rgb(1 2 3 / 50%)", { r: 1, g: 2, b: 3, a: 0.5 }],
  ["rgba(1,2,3,.25)", { r: 1, g: 2, b: 3, a: 0.25 }],
];

for (const [text, color] of PARSED) {
  test(`parseColor reads ${JSON.stringify(text)}`, () => assert.deepEqual(parseColor(text), color));
}

const NOT_COLORS = ["", "#", "#12", "#12345", "#1234567", "#gggggg", "rgb(1,2)", "rgb(1,2,3,4,5)"];
NOT_COLORS.push("rgb(a,b,c)", "rgb()", "red", "a red ball", null, undefined, 5, {}, ["#fff"]);

for (const value of NOT_COLORS) {
  test(`parseColor refuses ${JSON.stringify(value)}`, () => assert.equal(parseColor(value), null));
}

test("parseColor asks for names, and only for what it does not know itself", () => {
  const asked = [];
  const resolve = (name) => {
    asked.push(name);
    return { red: "#ff0000", ghost: "rgba(1, 2, 3, 0.5)", odd: "color(srgb 1 0 0)" }[name] ?? null;
  };
  assert.deepEqual(parseColor(" red ", resolve), opaque(255, 0, 0));
  assert.deepEqual(parseColor("ghost", resolve), { r: 1, g: 2, b: 3, a: 0.5 });
  assert.equal(parseColor("odd", resolve), null);
  assert.equal(parseColor("nothing", resolve), null);
  parseColor("#fff", resolve);
  parseColor("", resolve);
  assert.deepEqual(asked, ["red", "ghost", "odd", "nothing"]);
});

test("looksLikeColor takes every form and single words, not sentences", () => {
  const yes = ["#fff", "rgb(1,2,3)", "hsl(10, 20%, 30%)", "cornflowerblue", "ff8800"];
  const no = ["a red ball", "", "red, blue", 3, null, "sam3-tiny", "rgb(1,2"];
  for (const text of yes) assert.equal(looksLikeColor(text), true, text);
  for (const text of no) assert.equal(looksLikeColor(text), false, String(text));
});

test("the picker gets #rrggbb, black for no colour", () => {
  assert.equal(toPickerValue(parseColor("#f80")), "#ff8800");
  assert.equal(toPickerValue(parseColor("rgba(0, 10, 255, 0.2)")), "#000aff");
  assert.equal(toPickerValue(null), "#000000");
});

test("a picked colour keeps the alpha of the one before", () => {
  assert.equal(withPicked(parseColor("#222222"), "#ff8800"), "#ff8800");
  assert.equal(withPicked(parseColor("#22222280"), "#ff8800"), "#ff880080");
  assert.equal(withPicked(parseColor("#22222200"), "#ff8800"), "#ff880000");
  assert.equal(withPicked(null, "#ff8800"), "#ff8800");
});

test("flatten mixes with what lies below", () => {
  assert.deepEqual(flatten({ r: 0, g: 0, b: 0, a: 0.5 }, opaque(200, 100, 0)), opaque(100, 50, 0));
  assert.deepEqual(flatten(opaque(1, 2, 3), opaque(200, 100, 0)), opaque(1, 2, 3));
});

test("luminance and contrast are those of WCAG 2", () => {
  assert.equal(luminance(opaque(0, 0, 0)), 0);
  assert.ok(Math.abs(luminance(opaque(255, 255, 255)) - 1) < 1e-12);
  assert.ok(Math.abs(contrast(opaque(0, 0, 0), opaque(255, 255, 255)) - 21) < 1e-9);
  // #777777 on white is the well-known near miss of the 4.5 limit
  assert.equal(contrast(opaque(119, 119, 119), opaque(255, 255, 255)).toFixed(2), "4.48");
});

test("the text on every swatch reaches a contrast of 4.5", () => {
  const levels = [0, 51, 102, 128, 153, 204, 255];
  for (const r of levels) {
    for (const g of levels) {
      for (const b of levels) {
        const color = opaque(r, g, b);
        const text = parseColor(readableTextColor(color));
        assert.ok(contrast(color, text) >= 4.5, `${r} ${g} ${b}`);
      }
    }
  }
});

test("a transparent colour is judged by what shows through", () => {
  const color = { r: 0, g: 0, b: 0, a: 0.1 };
  assert.equal(readableTextColor(color, opaque(255, 255, 255)), "#000000");
  assert.equal(readableTextColor(color, opaque(0, 0, 0)), "#ffffff");
});

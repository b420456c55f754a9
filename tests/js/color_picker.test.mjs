import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

/** As much of a page as the picker needs. */
class FakeElement {
  style = {};
  isConnected = false;
  clicks = 0;
  setAttribute() {}
  remove() {
    this.isConnected = false;
  }
  click() {
    this.clicks += 1;
  }
}

const made = [];
const frames = [];
globalThis.document = {
  createElement: () => made[made.push(new FakeElement()) - 1],
  body: { appendChild: (element) => (element.isConnected = true) },
};
globalThis.window = new EventTarget();
globalThis.requestAnimationFrame = (callback) => frames.push(callback);

const { closeColorPicker, openColorPicker } = await import("../../js/lib/color_picker.js");

let heard;

function open(value = "#222222") {
  const onInput = (picked) => heard.push(["input", picked]);
  const onDone = (picked) => heard.push(["done", picked]);
  openColorPicker({ value, x: 30, y: 40, onInput, onDone });
  while (frames.length) frames.shift()();
  return made.at(-1);
}

function choose(element, value) {
  element.value = value;
  element.oninput();
}

beforeEach(() => {
  closeColorPicker();
  heard = [];
});

test("opens at the place of the click, with the value", () => {
  const clicks = made[0]?.clicks ?? 0;
  const element = open("#ff8800");
  assert.equal(element.type, "color");
  assert.deepEqual([element.value, element.style.left, element.style.top], ["#ff8800", "30px", "40px"]);
  assert.ok(element.isConnected);
  assert.equal(element.clicks, clicks + 1);
});

test("tells every colour tried and the last one as the choice", () => {
  const element = open();
  choose(element, "#ff0000");
  choose(element, "#00ff00");
  element.onchange();
  assert.deepEqual(heard, [["input", "#ff0000"], ["input", "#00ff00"], ["done", "#00ff00"]]);
  assert.equal(element.isConnected, false);
});

test("a change event alone is a choice", () => {
  const element = open();
  element.value = "#ff8800";
  element.onchange();
  assert.deepEqual(heard, [["input", "#ff8800"], ["done", "#ff8800"]]);
});

for (const sign of ["pointerdown", "keydown"]) {
  test(`a cancelled picker leaves nothing behind (${sign})`, () => {
    const element = open();
    window.dispatchEvent(new Event(sign));
    assert.deepEqual(heard, []);
    assert.equal(element.isConnected, false);
    assert.deepEqual([element.oninput, element.onchange], [null, null]);
  });

  test(`what was tried before the picker went away is kept (${sign})`, () => {
    choose(open(), "#ff8800");
    window.dispatchEvent(new Event(sign));
    window.dispatchEvent(new Event(sign));
    assert.deepEqual(heard, [["input", "#ff8800"], ["done", "#ff8800"]]);
  });
}

test("a second picker ends the first; all share one element", () => {
  choose(open(), "#ff8800");
  open("#00ff00");
  assert.deepEqual(heard, [["input", "#ff8800"], ["done", "#ff8800"]]);
  assert.equal(made.length, 1);
});

test("closed before its frame came, it does not open", () => {
  const clicks = made[0].clicks;
  openColorPicker({ value: "#222222", x: 0, y: 0, onInput() {}, onDone() {} });
  closeColorPicker();
  while (frames.length) frames.shift()();
  assert.equal(made[0].clicks, clicks);
});

import assert from "node:assert/strict";
import { test } from "node:test";

import { misfit, restoreValues, savedOrders, widgetSpecs } from "../../js/lib/widget_order.js";

const NODE = {
  name: "SAM3SegmentV3",
  input: {
    required: {
      image: ["IMAGE"],
      prompt: ["STRING", { default: "", multiline: true }],
      sam3_model: [["sam3", "sam3-tiny"], { default: "sam3" }],
      device: [["Auto", "CPU", "GPU"], { default: "Auto" }],
      confidence_threshold: ["FLOAT", { default: 0.5, min: 0.05, max: 0.95 }],
    },
    optional: {
      mask_blur: ["INT", { default: 0, min: 0, max: 64 }],
      mask_offset: ["INT", { default: 0, min: -64, max: 64 }],
      invert_output: ["BOOLEAN", { default: false }],
      unload_model: ["BOOLEAN", { default: false }],
      background: [["Alpha", "Color"], { default: "Alpha" }],
      background_color: ["COLORCODE", { default: "#222222" }],
    },
  },
};

const SPECS = widgetSpecs(NODE);
const NATURAL = SPECS.map((s) => s.name);
const CURRENT = ["background_color", ...NATURAL.slice(0, -1)]; // as the widget script arranges them

/** Ten values, each unlike the others and unlike its default. */
const REST = ["a red ball", "sam3-tiny", "GPU", 0.37, 3, -2, true, true, "Color"];
const COLOR = "#ff8800";
const FIRST = [COLOR, ...REST];
const LAST = [...REST, COLOR];
const NAMED = Object.fromEntries(NATURAL.map((name, i) => [name, LAST[i]]));

test("widgetSpecs lists the widgets of the definition in order, without plain sockets", () => {
  assert.deepEqual(NATURAL, [
    "prompt",
    "sam3_model",
    "device",
    "confidence_threshold",
    "mask_blur",
    "mask_offset",
    "invert_output",
    "unload_model",
    "background",
    "background_color",
  ]);
  assert.deepEqual(
    SPECS.map((s) => s.kind),
    "string combo combo number number number boolean boolean combo color".split(" "),
  );
});

test("widgetSpecs reads the newer form of choices, forced inputs and empty definitions", () => {
  const input = {
    required: { mode: ["COMBO", { options: ["a", "b"] }], seed: ["INT", { forceInput: true }] },
  };
  assert.deepEqual(
    widgetSpecs({ input }).map(({ name, kind, options, default: d }) => [name, kind, options, d]),
    [["mode", "combo", ["a", "b"], "a"]],
  );
  assert.deepEqual(widgetSpecs({}), []);
  assert.deepEqual(widgetSpecs(undefined), []);
});

test("savedOrders: colour first, the definition's order, no colour", () => {
  assert.deepEqual(savedOrders(SPECS, CURRENT), [CURRENT, NATURAL, NATURAL.slice(0, -1)]);
});

test("misfit tells values of another kind", () => {
  const spec = (name) => SPECS.find((s) => s.name === name);
  assert.equal(misfit(0.4, spec("confidence_threshold")), 0);
  assert.ok(misfit("Auto", spec("confidence_threshold")) > misfit(5, spec("confidence_threshold")));
  assert.ok(misfit(5, spec("confidence_threshold")) > 0);
  assert.ok(misfit(0, spec("invert_output")) > 0);
  assert.ok(misfit(true, spec("mask_blur")) > 0);
  assert.equal(misfit("GPU", spec("device")), 0);
  assert.ok(misfit("MPS", spec("device")) < misfit(true, spec("device")));
  assert.ok(misfit("a red ball", spec("background_color")) > 0);
});

const restore = (values, named) => restoreValues(values, named, SPECS, CURRENT);

const CASES = [
  ["colour first, as this widget saves: nothing to do", FIRST, undefined, null],
  ["colour last, the definition's order", LAST, undefined, FIRST],
  ["colour last, with names", LAST, NAMED, FIRST],
  ["colour first, with names: nothing to do", FIRST, NAMED, null],
  ["no colour: saved where no script made the widget", REST, undefined, ["#222222", ...REST]],
  [
    "colour first, then saved without the script: shifted by one, last value lost",
    FIRST.slice(0, -1),
    { prompt: COLOR, sam3_model: "a red ball", device: "sam3-tiny", confidence_threshold: "GPU" },
    [...FIRST.slice(0, -1), "Alpha"],
  ],
  ["names in yet another order", [...LAST].reverse(), NAMED, FIRST],
  ["positions edited by hand, names left behind", ["#00ff00", ...REST], NAMED, null],
  ["an older node with fewer inputs", LAST.slice(0, 4), undefined, [
    "#222222",
    ...REST.slice(0, 4),
    0,
    0,
    false,
    false,
    "Alpha",
  ]],
  ["more values than widgets", [...LAST, 1, 2], undefined, FIRST],
  ["null for a value", [null, ...REST], undefined, ["#222222", ...REST]],
  ["a model file that is gone", ["x", "gone.pt", ...LAST.slice(2)], undefined, [
    COLOR,
    "x",
    "gone.pt",
    ...REST.slice(2),
  ]],
];

for (const [title, values, named, expected] of CASES) {
  test(`restoreValues: ${title}`, () => assert.deepEqual(restore(values, named), expected));
}

test("restoreValues tells the orders apart whatever prompt and colour look like", () => {
  const colors = ["#222222", "#fff", "red", "rgb(1,2,3)", "", "not a colour at all"];
  const prompts = ["", "red", "#ff0000", "sam3", "Auto", "a, b\nc", "red circle"];
  for (const color of colors) {
    for (const prompt of prompts) {
      const rest = [prompt, ...REST.slice(1)];
      const where = JSON.stringify([color, prompt]);
      assert.equal(restore([color, ...rest]), null, where);
      const same = color === prompt && color === rest.at(-1);
      assert.deepEqual(restore([...rest, color]), same ? null : [color, ...rest], where);
    }
  }
});

test("restoreValues is stable: what it gives needs no second move", () => {
  for (const [, values, named] of CASES) {
    const once = restore(values, named) ?? values;
    assert.equal(restore(once), null);
  }
});

test("restoreValues leaves alone what it cannot read", () => {
  for (const values of [undefined, null, {}, { prompt: "x" }, "abc", []]) {
    assert.equal(restore(values), null);
  }
  assert.equal(restoreValues(FIRST, undefined, SPECS, []), null);
});

test("restoreValues does not change its arguments", () => {
  const values = Object.freeze([...LAST]);
  const named = Object.freeze({ ...NAMED });
  assert.deepEqual(restoreValues(values, named, SPECS, Object.freeze([...CURRENT])), FIRST);
});

test("an input appended to the node later keeps every older order readable", () => {
  const later = structuredClone(NODE);
  later.input.optional.max_objects = ["INT", { default: 0, min: 0, max: 100 }];
  const specs = widgetSpecs(later);
  const current = ["background_color", ...specs.map((s) => s.name).filter((n) => n !== "background_color")];
  assert.deepEqual(restoreValues(FIRST, undefined, specs, current), [...FIRST, 0]);
  assert.deepEqual(restoreValues(LAST, undefined, specs, current), [...FIRST, 0]);
  assert.deepEqual(restoreValues([...LAST, 7], undefined, specs, current), [...FIRST, 7]);
  assert.equal(restoreValues([...FIRST, 7], undefined, specs, current), null);
});

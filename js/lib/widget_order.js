/**
 * Reads the widget values of a saved node, in whichever order they were saved.
 *
 * A workflow stores `widgets_values` by position. The colour stands first where this pack's script
 * was at work, last (the node's own order) where another pack made the widget, and is missing where
 * no script made one. The values themselves tell which: numbers, switches and choices only fit in one
 * order. `widgets_values_named`, which newer frontends add, is used where it fits.
 *
 * Pure functions: nothing here touches the page.
 */

import { looksLikeColor } from "./color.js";

/** @typedef {{name: string, kind: string, options?: unknown[], min?: number, max?: number, default?: unknown}} Spec */

export const COLOR_TYPE = "COLORCODE";

const WRONG = 10; // cannot be this widget's value
const ODD = 1; // could be, but is not one of its choices or out of its range
const KINDS = { STRING: "string", INT: "number", FLOAT: "number", BOOLEAN: "boolean" };

/**
 * The widgets of a node in the order of its definition.
 *
 * @param {{input?: {required?: object, optional?: object}}} nodeData a node of /object_info.
 * @returns {Spec[]}
 */
export function widgetSpecs(nodeData) {
  const { required = {}, optional = {} } = nodeData?.input ?? {};
  return Object.entries({ ...required, ...optional }).flatMap(([name, [type, config = {}]]) => {
    const options = Array.isArray(type)
      ? type
      : type === "COMBO"
        ? (config.options ?? [])
        : undefined;
    const kind = options ? "combo" : type === COLOR_TYPE ? "color" : KINDS[type];
    if (!kind || config.forceInput) return [];
    const { min, max } = config;
    return [{ name, kind, options, min, max, default: config.default ?? options?.[0] }];
  });
}

/** How badly a value suits a widget: 0 well, ODD doubtful, WRONG not at all. */
export function misfit(value, spec) {
  if (value === undefined || value === null) return ODD;
  if (!spec) return 0;
  switch (spec.kind) {
    case "color":
      return typeof value !== "string" ? WRONG : looksLikeColor(value) ? 0 : 2 * ODD;
    case "number":
      if (typeof value !== "number") return WRONG;
      return value < (spec.min ?? -Infinity) || value > (spec.max ?? Infinity) ? ODD : 0;
    case "boolean":
      return typeof value === "boolean" ? 0 : WRONG;
    case "combo":
      if (spec.options.includes(value)) return 0;
      return typeof value === "string" || typeof value === "number" ? ODD : WRONG;
    default:
      return typeof value === "string" ? 0 : WRONG;
  }
}

/** The orders in which the values of these widgets may have been saved, likeliest first. */
export function savedOrders(specs, current) {
  const isColor = new Set(specs.filter((s) => s.kind === "color").map((s) => s.name));
  const present = new Set(current);
  const defined = specs.map((s) => s.name).filter((n) => present.has(n));
  const natural = [...defined, ...current.filter((n) => !defined.includes(n))];
  const rest = natural.filter((n) => !isColor.has(n));
  return [[...natural.filter((n) => isColor.has(n)), ...rest], natural, rest];
}

const sameSet = (a, b) => {
  const sorted = (list) =>
    list
      .map((v) => JSON.stringify(v ?? null))
      .sort()
      .join("\n");
  return sorted(a) === sorted(b);
};

/** The reading, name -> value, that suits the widgets best; the first of equals. */
function bestReading(values, named, specs, current) {
  const byName = new Map(specs.map((s) => [s.name, s]));
  const cost = (reading, unread = 0) =>
    current.reduce((sum, name) => sum + misfit(reading[name], byName.get(name)), unread * ODD);
  const readings = savedOrders(specs, current).map((order) => {
    const reading = Object.fromEntries(order.map((name, i) => [name, values[i]]));
    return { reading, cost: cost(reading, Math.max(0, values.length - order.length)) };
  });
  if (named) {
    // names win over positions, unless someone edited the positions only
    const entry = { reading: named, cost: cost(named) };
    if (sameSet(values, Object.values(named))) readings.unshift(entry);
    else readings.push(entry);
  }
  return readings.reduce((best, next) => (next.cost < best.cost ? next : best)).reading;
}

/**
 * The saved values in the order of the node's widgets now.
 *
 * @param {unknown} values `widgets_values` as saved.
 * @param {Record<string, unknown> | undefined} named `widgets_values_named` as saved, if any.
 * @param {Spec[]} specs the widgets of the node's definition.
 * @param {string[]} current names of the node's serialised widgets in their order now.
 * @returns {unknown[] | null} null when nothing has to be moved or filled in.
 */
export function restoreValues(values, named, specs, current) {
  if (!Array.isArray(values) || values.length === 0 || current.length === 0) return null;
  const usable = named && typeof named === "object" && !Array.isArray(named) ? named : undefined;
  const reading = bestReading(values, usable, specs, current);
  const fallback = new Map(specs.map((s) => [s.name, s.default]));
  const restored = current.map((name) => reading[name] ?? fallback.get(name) ?? null);
  const unchanged =
    restored.length === values.length &&
    restored.every((value, i) => value === (values[i] ?? null));
  return unchanged ? null : restored;
}

/**
 * The colour widget (input type COLORCODE) of this pack's nodes.
 *
 * Registers and wires only: colours, saved orders, picker and drawing are in lib/. The widget stands at the
 * top of the node, where workflows have saved it; values saved in another order are moved when they are read.
 */

import { app } from "../../scripts/app.js";
import { parseColor, toPickerValue, withPicked } from "./lib/color.js";
import { closeColorPicker, openColorPicker } from "./lib/color_picker.js";
import { drawColorRow } from "./lib/swatch.js";
import { Surfaces, measureRow } from "./lib/vue_row.js";
import { COLOR_TYPE, restoreValues, widgetSpecs } from "./lib/widget_order.js";

const EXTENSION = "sam3-segment.ColorWidget";
const NODE_NAMES = new Set(["SAM3SegmentV3"]);
const DEFAULT_COLOR = "#222222";
const MARGIN = 15; // of every widget that LiteGraph draws
const VUE_FONT_SIZE = "12px";

/** canvases of Vue nodes and panels, by node id and widget name */
const surfaces = new Surfaces();
const surfaceKey = (widget, node) => `${node.id}:${widget.name}`;

/** node name -> widgets of its definition, for this pack's nodes */
const ownNodes = new Map();

/** Whether a definition is one of this pack's, and not of another pack that took the same name. */
function isOwnNode(nodeData) {
  if (!NODE_NAMES.has(nodeData?.name)) return false;
  const folder = decodeURIComponent(
    new URL("./", import.meta.url).pathname.match(/\/extensions\/([^/]+)\//)?.[1] ?? "",
  );
  return !nodeData.python_module || !folder || nodeData.python_module === `custom_nodes.${folder}`;
}

let nameContext = null;

/** A colour name or any other CSS colour as "#rrggbb" or "rgba(…)", or null: the browser's own parser. */
function resolveCssColor(text) {
  if (!CSS.supports("color", text)) return null;
  nameContext ??= document.createElement("canvas").getContext("2d");
  nameContext.fillStyle = "#000000";
  nameContext.fillStyle = text;
  return nameContext.fillStyle;
}

const readColor = (value) => parseColor(value, resolveCssColor);

/**
 * The widget that stands in the graph now where this one stood. Undo makes new nodes, but a Vue node
 * goes on drawing, and sending clicks to, the widget of the node before.
 */
function current(widget, node) {
  const live = app.canvas?.graph?.getNodeById?.(node.id);
  const twin =
    live &&
    live !== node &&
    live.widgets?.find((w) => w.isSam3ColorWidget && w.name === widget.name);
  return twin ? { widget: twin, node: live } : { widget, node };
}

/** Makes a value the widget's own, as one step of the undo history. */
function commitValue(widget, node, value, previous) {
  const { canvas } = app;
  canvas.emitBeforeChange?.();
  try {
    widget.value = value;
    widget.callback?.(value, canvas, node, canvas.graph_mouse);
    node.onWidgetChanged?.(widget.name, value, previous, widget);
    node.graph?.incrementVersion?.();
  } finally {
    canvas.emitAfterChange?.();
  }
  redraw(widget, node);
}

function pickColor(widget, node, event) {
  const previous = widget.value;
  const before = readColor(previous);
  openColorPicker({
    value: toPickerValue(before),
    x: event?.clientX ?? 0,
    y: event?.clientY ?? 0,
    onInput(picked) {
      widget.value = withPicked(before, picked);
      redraw(widget, node);
    },
    onDone(picked) {
      if (node.graph) commitValue(widget, node, withPicked(before, picked), previous);
    },
  });
}

/** Row and look in LiteGraph mode: one more of the widgets that LiteGraph draws. */
function liteGraphLayout(width, y, height) {
  const { LiteGraph } = window;
  const row = { x: MARGIN, y, width: width - 2 * MARGIN, height };
  const theme = {
    background: LiteGraph.WIDGET_BGCOLOR,
    outline: LiteGraph.WIDGET_OUTLINE_COLOR,
    label: LiteGraph.WIDGET_SECONDARY_TEXT_COLOR,
    filled: true,
    swatchX: row.width / 2,
    inset: 2,
    labelX: 15,
  };
  return { row, theme };
}

/** Row and look in a Vue node, lined up with its neighbours; null where it cannot be measured. */
function vueLayout(canvas, width, height) {
  const place = measureRow(canvas, width);
  if (!place) return null;
  const { style } = place;
  const theme = {
    background: "transparent",
    outline: "rgba(128, 128, 128, 0.6)",
    label: style.color,
    font: `${VUE_FONT_SIZE} ${style.fontFamily}`,
    filled: false,
    swatchX: place.controlX - place.x,
    inset: 0.5,
    labelX: 0,
    radius: 6,
  };
  const row = { x: place.x, y: 0, width: place.width, height };
  return { row, theme, labelled: place.labelled };
}

function paint(ctx, widget, { row, theme, labelled = true }, showText) {
  drawColorRow(ctx, row, {
    label: labelled ? widget.label || widget.name : "",
    value: String(widget.value ?? ""),
    color: readColor(widget.value),
    showText,
    theme,
  });
}

/** Shows the value everywhere: Vue nodes and panels draw a canvas widget only when asked, and not all of them. */
function redraw(widget, node) {
  surfaces.repaint(surfaceKey(widget, node), (ctx, width, height) => {
    const layout = vueLayout(ctx.canvas, width, height);
    if (layout) paint(ctx, widget, layout, true);
  });
  node.setDirtyCanvas?.(true, true);
}

/**
 * A plain widget object, which every frontend takes and draws through draw(). It has no computeSize():
 * LiteGraph passes the standard height to draw() whatever that says.
 */
function makeColorWidget(name, value, options = {}) {
  return {
    type: COLOR_TYPE,
    name,
    value,
    options: { ...options },
    isSam3ColorWidget: true,
    callback(newValue, canvas, node = this.node) {
      if (node) redraw(this, node);
    },
    draw(ctx, node, width, y, height, lowQuality) {
      const { canvas } = ctx;
      const { widget } = current(this, node);
      const ofVueNode = this.triggerDraw && canvas.isConnected && canvas !== app.canvas?.canvas;
      if (ofVueNode) surfaces.add(surfaceKey(widget, node), canvas, width, height);
      const layout =
        (ofVueNode && vueLayout(canvas, width, height)) || liteGraphLayout(width, y, height);
      paint(ctx, widget, layout, !lowQuality);
    },
    onPointerDown(pointer, node) {
      const target = current(this, node);
      if (!target.widget.computedDisabled) {
        pointer.onClick = (event) => pickColor(target.widget, target.node, event);
      }
      return true;
    },
    onRemove: closeColorPicker,
  };
}

/** Takes a widget off a node; the input slot of the same name stays a widget's slot. */
function dropWidget(node, widget) {
  const slots = (node.inputs ?? []).filter((input) => input.widget?.name === widget.name);
  const kept = slots.map((input) => input.widget);
  if (widget.widgetId && node.removeWidget) {
    node.removeWidget(widget); // newer frontends know the widgets of a node in the graph by name
  } else {
    widget.onRemove?.();
    node.widgets.splice(node.widgets.indexOf(widget), 1);
  }
  slots.forEach((input, i) => (input.widget = kept[i]));
}

/** Puts this pack's colour widget at the top of a node, in place of any that another pack made. */
function placeColorWidgets(node) {
  const specs = ownNodes.get(node.comfyClass);
  if (!specs || !node.widgets) return;
  for (const spec of specs.filter((s) => s.kind === "color").reverse()) {
    // a frontend renames the second of two to "name#1"
    const same = node.widgets.filter((w) => w.name?.replace(/#\d+$/, "") === spec.name);
    let own = same.find((w) => w.isSam3ColorWidget);
    for (const other of same) if (other !== own) dropWidget(node, other);
    if (!own) {
      own = node.addCustomWidget(makeColorWidget(spec.name, spec.default ?? DEFAULT_COLOR));
    }
    if (own.name !== spec.name) own.name = spec.name;
    const index = node.widgets.indexOf(own);
    if (index > 0) node.widgets.unshift(...node.widgets.splice(index, 1));
  }
}

/** Once more when everybody is done with a new node: another pack may have added its own widget. */
function placeAfterCreation(node) {
  const { onNodeCreated } = node;
  node.onNodeCreated = function (...args) {
    const result = onNodeCreated?.apply(this, args);
    placeColorWidgets(this);
    return result;
  };
}

/** The saved node with its values in the order of the node's widgets. */
function withValuesInOrder(node, info) {
  const specs = ownNodes.get(node.comfyClass);
  const names = (node.widgets ?? []).filter((w) => w.serialize !== false).map((w) => w.name);
  const values = restoreValues(info?.widgets_values, info?.widgets_values_named, specs, names);
  if (!values) return info;
  const named = Object.fromEntries(names.map((name, i) => [name, values[i]]));
  return {
    ...info,
    widgets_values: values,
    ...(info.widgets_values_named ? { widgets_values_named: named } : {}),
  };
}

function wrapNodeType(nodeType) {
  const { configure } = nodeType.prototype;
  nodeType.prototype.configure = function (info, ...rest) {
    placeColorWidgets(this);
    const result = configure.call(this, withValuesInOrder(this, info), ...rest);
    for (const widget of this.widgets ?? []) {
      if (widget.isSam3ColorWidget) redraw(widget, this);
    }
    return result;
  };
}

app.registerExtension({
  name: EXTENSION,

  getCustomWidgets() {
    return {
      [COLOR_TYPE](node, inputName, [, config = {}]) {
        const widget = makeColorWidget(inputName, config.default ?? DEFAULT_COLOR);
        return { widget: node.addCustomWidget(widget) };
      },
    };
  },

  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!isOwnNode(nodeData)) return;
    ownNodes.set(nodeData.name, widgetSpecs(nodeData));
    wrapNodeType(nodeType);
  },

  nodeCreated(node) {
    if (!ownNodes.has(node.comfyClass)) return;
    placeColorWidgets(node);
    placeAfterCreation(node);
  },
});

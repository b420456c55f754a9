/**
 * Canvas-drawn widgets in Vue-rendered nodes ("Nodes 2.0"): where the row of such a widget lies, measured on
 * the page so that it lines up with its neighbours, and which canvases show it. Lengths are in the canvas's own pixels.
 */

const NODE = "[data-node-id], .lg-node-widgets";
const LABEL = '[data-testid="widget-layout-field-label"]';
const LABEL_SHARE = 1 / 3; // of the row, where no neighbour shows how wide the labels are

/**
 * The frontend shifts the canvas of such a widget to the left and forgets to widen it, so that it ends
 * short of its row. Widens it by what is missing, if anything is.
 */
function fillRow(canvas, row, scale) {
  const missing = (row.right - canvas.getBoundingClientRect().right) * scale;
  if (missing >= 1) canvas.parentElement.style.width = `calc(100% + ${Math.round(missing)}px)`;
}

/**
 * @param {HTMLCanvasElement} canvas the widget's canvas, in the page.
 * @param {number} width its width in its own pixels.
 * @returns {{x: number, width: number, controlX: number, labelled: boolean, style: CSSStyleDeclaration} | null}
 *   left edge and width of the row, left edge of the controls, whether the widget has to show its name itself
 *   (the side panel shows it), computed style of the row; null when the canvas has no size yet.
 */
export function measureRow(canvas, width) {
  const holder = canvas.parentElement?.parentElement;
  const drawn = canvas.getBoundingClientRect();
  if (!holder || drawn.width === 0) return null;
  const scale = width / drawn.width;
  const row = holder.getBoundingClientRect();
  fillRow(canvas, row, scale);
  const toCanvas = (pageX) => (pageX - drawn.left) * scale;
  const x = Math.max(0, toCanvas(row.left));
  const right = Math.min(width, toCanvas(row.right));
  const node = holder.closest(NODE);
  const neighbour = node?.querySelector(LABEL)?.nextElementSibling;
  let controlX = x;
  if (neighbour) controlX = toCanvas(neighbour.getBoundingClientRect().left);
  else if (node) controlX += (right - x) * LABEL_SHARE;
  return { x, width: right - x, controlX, labelled: !!node, style: getComputedStyle(holder) };
}

/** The canvases of Vue nodes and panels that show a widget, by a key of the caller's. */
export class Surfaces {
  #byKey = new Map();

  /** Notes that the canvas shows the widget of this key at this size, in the canvas's own pixels. */
  add(key, canvas, width, height) {
    this.#forgetGone();
    if (!this.#byKey.has(key)) this.#byKey.set(key, new Map());
    this.#byKey.get(key).set(canvas, { width, height });
  }

  /** Clears each canvas of this key and paints it anew with `paint(ctx, width, height)`. */
  repaint(key, paint) {
    this.#forgetGone();
    for (const [canvas, { width, height }] of this.#byKey.get(key) ?? []) {
      const ctx = canvas.getContext("2d"); // its scale is still that of the last drawing
      ctx.clearRect(0, 0, width, canvas.height);
      paint(ctx, width, height);
    }
  }

  #forgetGone() {
    for (const [key, canvases] of this.#byKey) {
      for (const canvas of canvases.keys()) if (!canvas.isConnected) canvases.delete(canvas);
      if (canvases.size === 0) this.#byKey.delete(key);
    }
  }
}

/**
 * Draws a colour widget: its name on the left, on the right a swatch that carries the value.
 * Draws only on the context it is given.
 */

import { readableTextColor } from "./color.js";

const CHECK = 4; // side of a checkerboard square behind transparent colours
// close to each other: the text on them has to be readable
const CHECK_LIGHT = "#bababa";
const CHECK_DARK = "#9a9a9a";
const CHECK_MEAN = { r: 170, g: 170, b: 170 };
const INVALID = "#d04040";

/** Text cut to a width, with an ellipsis. */
export function fitText(ctx, text, width) {
  if (ctx.measureText(text).width <= width) return text;
  let end = text.length;
  while (end > 0 && ctx.measureText(`${text.slice(0, end)}…`).width > width) end -= 1;
  return end > 0 ? `${text.slice(0, end)}…` : "";
}

function roundedPath(ctx, { x, y, width, height }, radius) {
  ctx.beginPath();
  ctx.roundRect(x, y, width, height, Math.min(radius, width / 2, height / 2));
}

function fillChecks(ctx, { x, y, width, height }) {
  ctx.fillStyle = CHECK_LIGHT;
  ctx.fillRect(x, y, width, height);
  ctx.fillStyle = CHECK_DARK;
  for (let row = 0; row * CHECK < height; row += 1) {
    for (let col = row % 2; col * CHECK < width; col += 2) {
      ctx.fillRect(x + col * CHECK, y + row * CHECK, CHECK, CHECK);
    }
  }
}

function drawSwatch(ctx, box, { color, value, theme, showText }) {
  ctx.save();
  roundedPath(ctx, box, theme.radius ?? box.height / 2);
  ctx.clip();
  if (color) {
    if (color.a < 1) fillChecks(ctx, box);
    ctx.fillStyle = `rgba(${color.r}, ${color.g}, ${color.b}, ${color.a})`;
  } else {
    ctx.fillStyle = theme.background;
  }
  ctx.fillRect(box.x, box.y, box.width, box.height);
  if (showText) {
    ctx.fillStyle = color ? readableTextColor(color, CHECK_MEAN) : INVALID;
    ctx.textAlign = "center";
    const text = fitText(ctx, value, box.width - 8);
    ctx.fillText(text, box.x + box.width / 2, box.y + box.height / 2);
  }
  ctx.restore();
  roundedPath(ctx, box, theme.radius ?? box.height / 2);
  ctx.strokeStyle = color ? theme.outline : INVALID;
  ctx.lineWidth = 1;
  ctx.stroke();
}

/**
 * @param {CanvasRenderingContext2D} ctx
 * @param {{x: number, y: number, width: number, height: number}} row where the widget lies.
 * @param {object} look
 * @param {string} look.label the widget's name.
 * @param {string} look.value the text on the swatch.
 * @param {{r: number, g: number, b: number, a: number} | null} look.color null: not a colour.
 * @param {boolean} look.showText false when zoomed far out.
 * @param {{background: string, outline: string, label: string, font?: string, filled: boolean,
 *   swatchX: number, inset: number, labelX: number, radius?: number}} look.theme colours and places; x from
 *   the left edge of the row, `filled`: with a background of its own, `radius`: of the swatch.
 */
export function drawColorRow(ctx, row, look) {
  const { theme, showText } = look;
  ctx.save();
  if (theme.font) ctx.font = theme.font;
  ctx.textBaseline = "middle";
  if (theme.filled) {
    roundedPath(ctx, row, row.height / 2);
    ctx.fillStyle = theme.background;
    ctx.fill();
    ctx.strokeStyle = theme.outline;
    ctx.lineWidth = 1;
    if (showText) ctx.stroke();
  }
  const left = row.x + theme.swatchX;
  const box = {
    x: left,
    y: row.y + theme.inset,
    width: row.x + row.width - left - theme.inset,
    height: row.height - 2 * theme.inset,
  };
  if (showText) {
    ctx.fillStyle = theme.label;
    ctx.textAlign = "left";
    const start = row.x + theme.labelX;
    ctx.fillText(fitText(ctx, look.label, left - start - 6), start, row.y + row.height / 2);
  }
  drawSwatch(ctx, box, look);
  ctx.restore();
}

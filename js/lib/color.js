/**
 * Colour texts: what a text means, how it looks in the browser's picker, and which text colour is
 * readable on it. Pure functions: nothing here touches the page.
 *
 * A parsed colour is `{r, g, b, a}` with r, g, b in 0-255 and a in 0-1.
 */

const HEX = /^#?([0-9a-f]{3,4}|[0-9a-f]{6}|[0-9a-f]{8})$/i;
const RGB = /^rgba?\(([^()]*)\)$/i;
const DARK_TEXT = "#000000";
const LIGHT_TEXT = "#ffffff";

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** "50%" of `whole`, or the plain number; NaN when it is neither. */
function channel(text, whole) {
  const match = /^([+-]?(?:\d+\.?\d*|\.\d+))(%?)$/.exec(text);
  if (!match) return NaN;
  const number = Number(match[1]);
  return match[2] ? (number / 100) * whole : number;
}

function parseHex(text) {
  const match = HEX.exec(text);
  if (!match) return null;
  let digits = match[1];
  if (digits.length <= 4) digits = [...digits].map((d) => d + d).join("");
  const byte = (i) => parseInt(digits.slice(i, i + 2), 16);
  return { r: byte(0), g: byte(2), b: byte(4), a: digits.length === 8 ? byte(6) / 255 : 1 };
}

function parseRgb(text) {
  const match = RGB.exec(text);
  if (!match) return null;
  const parts = match[1].trim().split(/\s*[,/]\s*|\s+/);
  if (parts.length < 3 || parts.length > 4) return null;
  const [r, g, b] = parts.slice(0, 3).map((p) => Math.round(clamp(channel(p, 255), 0, 255)));
  const a = parts.length === 4 ? clamp(channel(parts[3], 1), 0, 1) : 1;
  return [r, g, b, a].some(Number.isNaN) ? null : { r, g, b, a };
}

/**
 * The colour that a text means, or null.
 *
 * @param {unknown} text "#rgb", "#rgba", "#rrggbb", "#rrggbbaa" ("#" may be missing), "rgb(…)", "rgba(…)".
 * @param {(name: string) => string | null} [resolveName] turns any other text, such as a colour name,
 *   into one of those forms, or returns null.
 */
export function parseColor(text, resolveName = () => null) {
  if (typeof text !== "string") return null;
  const plain = text.trim();
  const direct = parseHex(plain) ?? parseRgb(plain);
  if (direct || plain === "") return direct;
  const resolved = resolveName(plain);
  return typeof resolved === "string" ? (parseHex(resolved) ?? parseRgb(resolved)) : null;
}

/** Whether a text could be a colour: a form that `parseColor` knows, another function, or one word. */
export function looksLikeColor(text) {
  if (parseColor(text)) return true;
  return typeof text === "string" && /^([a-z]+|hs[lv]a?\([^()]*\))$/i.test(text.trim());
}

const hexByte = (value) => Math.round(value).toString(16).padStart(2, "0");

/** "#rrggbb", the only form that `<input type="color">` takes; black when there is no colour. */
export function toPickerValue(color) {
  return color ? `#${hexByte(color.r)}${hexByte(color.g)}${hexByte(color.b)}` : "#000000";
}

/**
 * The new value after the picker gave "#rrggbb". The picker knows no alpha, so a transparent
 * colour keeps its own as "#rrggbbaa".
 *
 * @param {{a: number} | null} before the parsed colour that the picker was opened with.
 */
export function withPicked(before, picked) {
  const alpha = before ? Math.round(before.a * 255) : 255;
  return alpha < 255 ? picked + hexByte(alpha) : picked;
}

/** The opaque colour that `color` gives on top of `background`. */
export function flatten(color, background = { r: 255, g: 255, b: 255 }) {
  const mix = (top, below) => top * color.a + below * (1 - color.a);
  return {
    r: mix(color.r, background.r),
    g: mix(color.g, background.g),
    b: mix(color.b, background.b),
    a: 1,
  };
}

/** Relative luminance of an opaque colour, 0 (black) to 1 (white), as WCAG 2 defines it. */
export function luminance({ r, g, b }) {
  const linear = (v) => {
    const s = v / 255;
    return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
  };
  return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
}

/** Contrast ratio of two opaque colours, 1 to 21, as WCAG 2 defines it. */
export function contrast(one, other) {
  const [low, high] = [luminance(one), luminance(other)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}

/** Black or white, whichever reads better on the colour. */
export function readableTextColor(color, background) {
  const shown = flatten(color, background);
  const dark = contrast(shown, parseHex(DARK_TEXT));
  return dark >= contrast(shown, parseHex(LIGHT_TEXT)) ? DARK_TEXT : LIGHT_TEXT;
}

/**
 * The browser's colour picker behind one shared, invisible `<input type="color">`.
 *
 * Browsers do not say when a picker is cancelled, so the input is shared, its handlers are replaced and
 * never added, and it leaves the page with the first sign that the picker is gone. Nothing happens at import.
 */

let input = null;
let finish = null; // ends the picking under way

function sharedInput() {
  if (input) return input;
  input = document.createElement("input");
  input.type = "color";
  input.tabIndex = -1;
  input.setAttribute("aria-hidden", "true");
  Object.assign(input.style, {
    position: "fixed",
    width: "1px",
    height: "1px",
    padding: "0",
    border: "0",
    opacity: "0",
    pointerEvents: "none",
  });
  return input;
}

/** Ends a picking under way: what was picked so far is kept, and everything is let go. */
export function closeColorPicker() {
  finish?.();
}

/**
 * Opens the picker at a place of the page.
 *
 * @param {object} request
 * @param {string} request.value start value, "#rrggbb".
 * @param {number} request.x place in page pixels, near which the picker opens.
 * @param {number} request.y
 * @param {(value: string) => void} request.onInput called with "#rrggbb" while the user tries colours.
 * @param {(value: string) => void} request.onDone called once at the end, only if the value changed.
 */
export function openColorPicker({ value, x, y, onInput, onDone }) {
  closeColorPicker();
  const element = sharedInput();
  element.value = value;
  element.style.left = `${x}px`;
  element.style.top = `${y}px`;
  document.body.appendChild(element);

  let picked = value;
  const take = () => {
    if (element.value === picked) return;
    picked = element.value;
    onInput(picked);
  };
  finish = () => {
    finish = null;
    window.removeEventListener("pointerdown", closeColorPicker, true);
    window.removeEventListener("keydown", closeColorPicker, true);
    element.oninput = element.onchange = null;
    element.remove();
    if (picked !== value) onDone(picked);
  };
  element.oninput = take;
  element.onchange = () => {
    take();
    closeColorPicker();
  };
  // the page gets these only when the picker is closed
  window.addEventListener("pointerdown", closeColorPicker, true);
  window.addEventListener("keydown", closeColorPicker, true);
  // a frame later, so that the picker opens at the new place
  requestAnimationFrame(() => {
    if (element.isConnected) element.click();
  });
}

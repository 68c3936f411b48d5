// The digit as numbers: what the model sees, large, with the cell under the pointer spelt out.

import { el, setAttribute } from "../element.js";
import { decimal } from "../numbers.js";
import { STRINGS } from "../strings.js";
import { createCanvas, drawSeen } from "./canvas.js";
import { withTable } from "./tabled.js";

/** @typedef {import("../store.js").App} App */

/** @param {App} app */
export function createPixels(app) {
  const [high, wide] = app.config.imageShape;
  const canvas = createCanvas(wide, high, "seen large");
  canvas.setAttribute("role", "img");
  const cross = el("div", { class: "middle", "aria-hidden": "true" });
  const tabled = withTable(el("div", { class: "seen-frame large" }, canvas, cross), () => ({
    caption: STRINGS.sees.label(high, wide),
    columns: ["", ...Array.from({ length: wide }, (_, column) => String(column))],
    rows: Array.from({ length: high }, (_, row) => [
      row,
      ...Array.from(app.reading.ink.subarray(row * wide, (row + 1) * wide), (value) =>
        value === 0 ? "0" : decimal(value),
      ),
    ]),
  }));
  return {
    element: el("section", { class: "pixels" }, tabled.element),
    update: () => {
      setAttribute(canvas, "aria-label", STRINGS.sees.label(high, wide));
      drawSeen(canvas, app.reading.ink);
      tabled.update();
    },
  };
}

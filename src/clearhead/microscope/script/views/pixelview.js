// The model input, large, with the numbers as a table.

import { el, setAttribute } from "../element.js";
import { decimal } from "../numbers.js";
import { STRINGS } from "../strings.js";
import { createCanvas, drawModelInput } from "./canvas.js";
import { withTable } from "./tabled.js";

/** @typedef {import("../store.js").App} App */

/** @param {App} app */
export function createPixels(app) {
  const [high, wide] = app.config.imageShape;
  const canvas = createCanvas(wide, high, "input-pixels large");
  canvas.setAttribute("role", "img");
  const cross = el("div", { class: "middle", "aria-hidden": "true" });
  const tabled = withTable(el("div", { class: "input-frame large" }, canvas, cross), () => ({
    caption: STRINGS.modelInput.label(high, wide),
    columns: ["", ...Array.from({ length: wide }, (_, column) => String(column))],
    rows: Array.from({ length: high }, (_, row) => [
      row,
      ...Array.from(app.result.ink.subarray(row * wide, (row + 1) * wide), (value) =>
        value === 0 ? "0" : decimal(value),
      ),
    ]),
  }));
  return {
    element: el("section", { class: "pixels" }, tabled.element),
    update: () => {
      setAttribute(canvas, "aria-label", STRINGS.modelInput.label(high, wide));
      drawModelInput(canvas, app.result.ink);
      tabled.update();
    },
  };
}

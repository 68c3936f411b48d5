// The digit as a grid of patches: ink over coloured cells, blank patches hatched.

import { el } from "../element.js";
import { createCanvas, drawInk } from "./canvas.js";
import { createGrid } from "./grid.js";

/** @typedef {import("../store.js").App} App */
/** @typedef {import("../colours.js").Colour} Colour */

/**
 * @param {App} app
 * @param {{move?: (patch: number) => void, press?: (patch: number) => void, brush?: boolean, className?: string}} what
 */
export function createPatchMap(app, { move, press, brush, className = "" }) {
  const [rows, columns] = app.config.grid;
  const [high, wide] = app.config.imageShape;
  const grid = createGrid({
    rows,
    columns,
    brush,
    className: "patches",
    floating: true,
    move: move && ((row, column) => move(row * columns + column)),
    press: press && ((row, column) => press(row * columns + column)),
  });
  const ink = createCanvas(wide, high, "ink");
  ink.setAttribute("aria-hidden", "true");
  const element = el("div", { class: `patch-map ${className}` }, grid.element, ink);
  element.style.setProperty("--shape", `${wide} / ${high}`);

  /**
   * @param {{label: string, colours: (Colour | null)[], names: string[], chosen?: number | null, selected?: number[], texts?: string[]}} what
   */
  function update({ label, colours, names, chosen = null, selected, texts }) {
    const { blank, ink: values } = app.result;
    grid.update({
      label,
      chosen: chosen === null ? null : [Math.floor(chosen / columns), chosen % columns],
      cells: colours.map((colour, patch) => ({
        colour,
        label: names[patch],
        text: texts?.[patch],
        selected: selected?.includes(patch),
        mark: blank[patch] ? "blank" : undefined,
      })),
    });
    drawInk(ink, values, app.config, colours);
  }
  return { element, update };
}

// The chosen patch, pixel by pixel.

import { css, isLight } from "../colours.js";
import { el, setText } from "../element.js";
import { cutPatches } from "../patches.js";
import { STRINGS } from "../strings.js";
import { patchOf } from "./tokens.js";

/** @typedef {import("../store.js").App} App */

/** @param {App} app */
export function createPatchNumbers(app) {
  const [rows, columns] = app.config.patchShape;
  const cells = Array.from({ length: rows * columns }, () => el("td", {}));
  const table = el(
    "table",
    { class: "patch-numbers" },
    el("caption", {}, STRINGS.walk.caption.pixels),
    el(
      "tbody",
      {},
      ...Array.from({ length: rows }, (_, row) =>
        el("tr", {}, ...cells.slice(row * columns, (row + 1) * columns)),
      ),
    ),
  );
  return {
    element: el("section", { class: "patch-panel" }, table),
    update: () => {
      const patch = patchOf(app, app.state.queryToken) ?? 0;
      const cut = cutPatches(app.result.ink, { ...app.config, inChannels: 1 });
      cells.forEach((cell, i) => {
        const value = cut[patch * rows * columns + i];
        const shade = Math.round(value * 255);
        setText(cell, value === 0 ? "0" : value === 1 ? "1" : value.toFixed(2).slice(1));
        cell.style.backgroundColor = css([shade, shade, shade]);
        cell.className = isLight([shade, shade, shade]) ? "light" : "dark";
      });
    },
  };
}

// Tables of vectors: a bar and a number per component, with patterns for Q, K and V.

import { el, setText } from "../element.js";
import { decimal } from "../numbers.js";

/** @typedef {{name: string, kind: "q" | "k" | "v" | "p", values: ArrayLike<number>}} Vector */

/**
 * @param {string} caption
 * @param {string} corner
 * @param {string[]} names of the columns
 * @param {("q" | "k" | "v" | "p")[]} kinds
 * @param {number} count of components
 */
export function createBars(caption, corner, names, kinds, count) {
  const cells = Array.from({ length: count }, () =>
    kinds.map((kind) => {
      const fill = el("span", { class: `signed ${kind}` });
      const number = el("span", { class: "number", "data-number": kind });
      return { fill, number, cell: el("td", {}, el("span", { class: "zero" }, fill), number) };
    }),
  );
  const element = el(
    "table",
    { class: "vectors" },
    el("caption", { class: "hidden" }, caption),
    el(
      "thead",
      {},
      el("tr", {}, el("th", { scope: "col" }, corner), ...names.map((name, i) => el("th", { scope: "col", class: kinds[i] }, name))),
    ),
    el(
      "tbody",
      {},
      ...cells.map((row, i) =>
        el("tr", {}, el("th", { scope: "row" }, String(i + 1)), ...row.map(({ cell }) => cell)),
      ),
    ),
  );
  /** @param {ArrayLike<number>[]} columns @param {number[]} domains */
  const update = (columns, domains) => {
    columns.forEach((values, column) => {
      for (let i = 0; i < count; i++) {
        const { fill, number } = cells[i][column];
        const share = Math.min(1, Math.abs(values[i]) / domains[column]) * 50;
        fill.style.width = `${share}%`;
        fill.style.left = values[i] < 0 ? `${50 - share}%` : "50%";
        setText(number, decimal(values[i]));
      }
    });
  };
  return { element, update };
}

/**
 * The largest absolute value in several vectors, slightly above 0 at least.
 * @param {...ArrayLike<number>} vectors
 */
export function largestSize(...vectors) {
  let largest = 1e-9;
  for (const vector of vectors) {
    for (let i = 0; i < vector.length; i++) largest = Math.max(largest, Math.abs(vector[i]));
  }
  return largest;
}

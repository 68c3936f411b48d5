// Arcs from the query word to the words it attends to; the width shows the weight.

import { fill, setAttribute } from "../element.js";

const NAMESPACE = "http://www.w3.org/2000/svg";
const MAX_WIDTH = 9; // pixels, for a weight of 100 %
const MIN_WEIGHT = 0.005; // smaller weights are not drawn
const ABOVE = 6; // pixels

/**
 * @param {HTMLElement} row whose children are the words
 */
export function createArcs(row) {
  const element = document.createElementNS(NAMESPACE, "svg");
  setAttribute(element, "class", "arcs");
  setAttribute(element, "aria-hidden", "true"); // the table and the matrix are accessible

  /**
   * @param {number} queryToken
   * @param {ArrayLike<number>} weights
   */
  function update(queryToken, weights) {
    const places = [...row.children].map((word) => {
      const { offsetLeft, offsetWidth, offsetTop } = /** @type {HTMLElement} */ (word);
      return { x: offsetLeft + offsetWidth / 2, line: offsetTop };
    });
    const from = places[queryToken];
    if (!from) return fill(element);
    const reach = Math.max(...places.map(({ x }) => Math.abs(x - from.x)), 1);
    const high = Math.min(96, 24 + reach / 5);
    setAttribute(element, "width", row.scrollWidth);
    setAttribute(element, "height", high + ABOVE);
    fill(
      element,
      ...Array.from(weights, (weight, keyToken) => {
        const to = places[keyToken];
        // no arcs between lines
        if (weight < MIN_WEIGHT || to.line !== from.line) return null;
        return arc(from.x, to.x, high, reach, weight);
      }),
    );
  }
  return { element, update };
}

/**
 * @param {number} from
 * @param {number} to
 * @param {number} high
 * @param {number} reach
 * @param {number} weight
 */
function arc(from, to, high, reach, weight) {
  const path = document.createElementNS(NAMESPACE, "path");
  const base = high + ABOVE;
  const far = Math.abs(to - from);
  const top = base - 2 * Math.max(10, ((high - MAX_WIDTH / 2) * far) / reach) * (2 / 3);
  const curve =
    far === 0
      ? `M ${from - 6} ${base} C ${from - 14} ${base - 26}, ${from + 14} ${base - 26}, ${from + 6} ${base}`
      : `M ${from} ${base} C ${from} ${top}, ${to} ${top}, ${to} ${base}`;
  setAttribute(path, "d", curve);
  setAttribute(path, "fill", "none");
  setAttribute(path, "stroke-opacity", 0.2 + 0.8 * Math.sqrt(weight));
  setAttribute(path, "stroke-width", 1 + MAX_WIDTH * weight);
  setAttribute(path, "stroke-linecap", "round");
  return path;
}

// Arcs from the word that asks to those that answer: the wider, the more attention.

import { fill, setAttribute } from "../element.js";

const NAMESPACE = "http://www.w3.org/2000/svg";
const WIDEST = 9; // pixels, for all of the attention
const FAINTEST = 0.005; // less is not drawn
const ABOVE = 6; // pixels of room

/**
 * @param {HTMLElement} row whose children are the words
 */
export function createArcs(row) {
  const element = document.createElementNS(NAMESPACE, "svg");
  setAttribute(element, "class", "arcs");
  setAttribute(element, "aria-hidden", "true"); // the table and the matrix say it in words

  /**
   * @param {number} asker
   * @param {ArrayLike<number>} weights
   */
  function update(asker, weights) {
    const places = [...row.children].map((word) => {
      const { offsetLeft, offsetWidth, offsetTop } = /** @type {HTMLElement} */ (word);
      return { x: offsetLeft + offsetWidth / 2, line: offsetTop };
    });
    const from = places[asker];
    if (!from) return fill(element);
    const reach = Math.max(...places.map(({ x }) => Math.abs(x - from.x)), 1);
    const high = Math.min(96, 24 + reach / 5);
    setAttribute(element, "width", row.scrollWidth);
    setAttribute(element, "height", high + ABOVE);
    fill(
      element,
      ...Array.from(weights, (weight, answerer) => {
        const to = places[answerer];
        // words that wrapped to another line are left to the table
        if (weight < FAINTEST || to.line !== from.line) return null;
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
  const top = base - 2 * Math.max(10, ((high - WIDEST / 2) * far) / reach) * (2 / 3);
  const curve =
    far === 0
      ? `M ${from - 6} ${base} C ${from - 14} ${base - 26}, ${from + 14} ${base - 26}, ${from + 6} ${base}`
      : `M ${from} ${base} C ${from} ${top}, ${to} ${top}, ${to} ${base}`;
  setAttribute(path, "d", curve);
  setAttribute(path, "fill", "none");
  setAttribute(path, "stroke-opacity", 0.2 + 0.8 * Math.sqrt(weight));
  setAttribute(path, "stroke-width", 1 + WIDEST * weight);
  setAttribute(path, "stroke-linecap", "round");
  return path;
}

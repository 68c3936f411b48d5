// Colour scales, for the page and for saved pictures: a ramp, marks and a note.

import { roundDomain, shareColour, signedColour, timesColour } from "./colours.js";
import { decimal, percent } from "./numbers.js";
import { STRINGS } from "./strings.js";

/** @typedef {{place: number, text: string}} Mark place from 0 to 1 */

/**
 * @typedef {Object} Scale
 * @property {(place: number) => import("./colours.js").Colour} colourAt
 * @property {Mark[]} marks
 * @property {string} note
 * @property {boolean} warning whether colours differ from picture to picture
 */

const WRITTEN = 1.6; // weights above this multiple of the uniform weight are written into their cells

/**
 * @param {import("./colours.js").ScaleMode} mode
 * @param {number} even 1 / number of keys
 * @param {number} largest weight shown
 * @returns {Scale}
 */
export function weightScale(mode, even, largest) {
  const { even: evenText, stretched } = STRINGS.matrix;
  if (mode === "even") {
    return {
      colourAt: (place) => timesColour(8 ** (2 * place - 1)),
      marks: ["1/8×", "1×", "8×"].map((text, i) => ({ place: i / 2, text })),
      note: `1× = ${evenText(even)}`,
      warning: false,
    };
  }
  const warning = mode === "stretched";
  const top = warning ? largest : 1;
  const shares = [0, 0.25, 1].map((part) => ({ place: Math.sqrt(part), text: percent(part * top) }));
  return {
    colourAt: (place) => shareColour(place * place),
    marks: even < top ? [...shares, { place: Math.sqrt(even / top), text: "▲" }] : shares,
    note: `${warning ? `${stretched(largest)}. ` : ""}▲ ${evenText(even)}`,
    warning,
  };
}

/**
 * @param {number} domain the largest absolute value
 * @param {string} note
 * @returns {Scale}
 */
export function signedScale(domain, note) {
  return {
    colourAt: (place) => signedColour((2 * place - 1) * domain, domain),
    marks: [-domain, 0, domain].map((value, i) => ({ place: i / 2, text: decimal(value, domain < 1 ? 1 : 0) })),
    note,
    warning: false,
  };
}

/**
 * One domain for the scores of a head, before and after scaling.
 * @param {import("./stages.js").Stages} head
 */
export function scoreDomain({ scores, scaled }) {
  let largest = 0;
  for (const values of [scores, scaled]) {
    for (let i = 0; i < values.length; i++) largest = Math.max(largest, Math.abs(values[i]));
  }
  return roundDomain(largest);
}

/**
 * The text in a weight's cell: its per cent if it is large, else nothing.
 * @param {number} weight
 * @param {number} even 1 / number of keys
 */
export function writtenWeight(weight, even) {
  return weight >= WRITTEN * even ? decimal(weight * 100, 0) : "";
}

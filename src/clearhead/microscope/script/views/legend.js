// What the colours mean, always beside them.

import { roundDomain, shareColour, css, signedColour, timesColour } from "../colours.js";
import { el, fill } from "../element.js";
import { decimal, percent } from "../numbers.js";
import { STRINGS } from "../strings.js";

/** @typedef {{place: number, text: string}} Tick place from 0 to 1 */

export function createLegend() {
  const bar = el("div", { class: "legend-bar" });
  const ticks = el("div", { class: "legend-ticks" });
  const note = el("p", { class: "legend-note" });
  const element = el("div", { class: "legend", role: "group", "aria-label": STRINGS.matrix.legend }, bar, ticks, note);
  let shown = "";

  /**
   * @param {string} key nothing is drawn again for the same one
   * @param {(place: number) => import("../colours.js").Colour} colourAt
   * @param {Tick[]} marks
   * @param {string} text
   * @param {boolean} warning
   */
  function draw(key, colourAt, marks, text, warning = false) {
    if (key === shown) return;
    shown = key;
    const stops = Array.from({ length: 17 }, (_, i) => css(colourAt(i / 16)));
    bar.style.backgroundImage = `linear-gradient(to right, ${stops.join(", ")})`;
    fill(
      ticks,
      ...marks.map(({ place, text: words }) => {
        const tick = el("span", { class: "tick" }, words);
        tick.style.left = `${place * 100}%`;
        return tick;
      }),
    );
    note.textContent = text;
    note.classList.toggle("warning", warning);
  }

  return {
    element,
    /** @param {import("../colours.js").ScaleMode} mode @param {number} even @param {number} largest */
    showWeights(mode, even, largest) {
      const { even: evenText, stretched } = STRINGS.matrix;
      if (mode === "even") {
        const marks = ["1/8×", "1×", "8×"].map((text, i) => ({ place: i / 2, text }));
        draw(`even${even}`, (place) => timesColour(8 ** (2 * place - 1)), marks, `1× = ${evenText(even)}`);
        return;
      }
      const top = mode === "stretched" ? largest : 1;
      const shares = [0, 0.25, 1].map((part) => ({ place: Math.sqrt(part), text: percent(part * top) }));
      const marks = even < top ? [...shares, { place: Math.sqrt(even / top), text: "▲" }] : shares;
      const text = mode === "stretched" ? `${stretched(largest)}. ▲ ${evenText(even)}` : `▲ ${evenText(even)}`;
      draw(`${mode}${even}${top}`, (place) => shareColour(place * place), marks, text, mode === "stretched");
    },
    /** @param {number} domain @param {string} text */
    showSigned(domain, text) {
      const marks = [-domain, 0, domain].map((value, i) => ({ place: i / 2, text: decimal(value, domain < 1 ? 1 : 0) }));
      draw(`signed${domain}${text}`, (place) => signedColour((2 * place - 1) * domain, domain), marks, text);
    },
  };
}

/**
 * One domain for the scores of a head, before and after scaling.
 * @param {import("../stages.js").Stages} head
 */
export function scoreDomain({ scores, scaled }) {
  let largest = 0;
  for (const values of [scores, scaled]) {
    for (let i = 0; i < values.length; i++) largest = Math.max(largest, Math.abs(values[i]));
  }
  return roundDomain(largest);
}

// The legend of a colour scale.

import { css } from "../colours.js";
import { el, fill } from "../element.js";
import { STRINGS } from "../strings.js";

export function createLegend() {
  const bar = el("div", { class: "legend-bar" });
  const ticks = el("div", { class: "legend-ticks" });
  const note = el("p", { class: "legend-note" });
  const element = el("div", { class: "legend", role: "group", "aria-label": STRINGS.matrix.legend }, bar, ticks, note);
  let shown = "";

  /** @param {import("../scales.js").Scale} scale not drawn again if unchanged */
  function show({ colourAt, marks, note: text, warning }) {
    const stops = Array.from({ length: 17 }, (_, i) => css(colourAt(i / 16)));
    const key = JSON.stringify([stops[0], marks, text]);
    if (key === shown) return;
    shown = key;
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
  return { element, show };
}

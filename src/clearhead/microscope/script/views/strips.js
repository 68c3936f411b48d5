// Vectors as strips of signed colours on one domain, with a table of their numbers.

import { roundDomain } from "../colours.js";
import { el, setText } from "../element.js";
import { decimal } from "../numbers.js";
import { signedScale } from "../scales.js";
import { STRINGS } from "../strings.js";
import { largestSize } from "./bars.js";
import { createCanvas, drawStrip } from "./canvas.js";
import { createLegend } from "./legend.js";
import { withTable } from "./tabled.js";

/** @typedef {import("../store.js").App} App */
/** @typedef {{name: string, values: Float64Array}} Strip */

/**
 * @param {App} app
 * @param {(run: import("../model.js").Run) => Strip[]} stripsOf
 */
export function createStrips(app, stripsOf) {
  const { caption } = STRINGS.walk;
  /** @type {{name: HTMLElement, canvas: HTMLCanvasElement}[]} */
  let lines = [];
  const holder = el("div", { class: "strips" });
  const legend = createLegend();
  const tabled = withTable(holder, () => {
    const strips = app.result.run ? stripsOf(app.result.run) : [];
    const longest = Math.max(0, ...strips.map(({ values }) => values.length));
    return {
      caption: caption.strips,
      columns: [caption.number, ...strips.map(({ name }) => name)],
      rows: Array.from({ length: longest }, (_, i) => [
        i + 1,
        ...strips.map(({ values }) => (i < values.length ? decimal(values[i], 3) : "")),
      ]),
    };
  });
  const element = el("section", { class: "strip-panel" }, legend.element, tabled.element);
  function update() {
    const { run } = app.result;
    if (run === null) return;
    const strips = stripsOf(run);
    if (lines.length !== strips.length) {
      lines = strips.map(() => ({ name: el("span", { class: "strip-name" }), canvas: createCanvas(1, 1, "strip") }));
      holder.replaceChildren(...lines.map(({ name, canvas }) => el("div", { class: "strip-line" }, name, canvas)));
    }
    const domain = roundDomain(largestSize(...strips.map(({ values }) => values)));
    strips.forEach(({ name, values }, i) => {
      setText(lines[i].name, name);
      lines[i].canvas.setAttribute("aria-hidden", "true");
      drawStrip(lines[i].canvas, values, domain);
    });
    legend.show(signedScale(domain, caption.strips));
    if (!app.drawing) tabled.update();
  }
  return { element, update };
}

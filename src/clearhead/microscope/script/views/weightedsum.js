// The weighted sum of the values: its terms, largest weight first, and the context.

import { added } from "../arithmetic.js";
import { el, fill } from "../element.js";
import { decimal, percent } from "../numbers.js";
import { signedScale } from "../scales.js";
import { STRINGS } from "../strings.js";
import { largestSize } from "./bars.js";
import { createCanvas, drawStrip } from "./canvas.js";
import { createLegend } from "./legend.js";
import { roundDomain } from "../colours.js";
import { withTable } from "./tabled.js";
import { chosenHead, rowOf, tokenName, vectorOf } from "./tokens.js";

/** @typedef {import("../store.js").App} App */

const SHOWN = 8; // terms shown; the others are added in one line

/** @param {App} app */
export function createWeightedSum(app) {
  const { headDim } = app.config;
  const { caption } = STRINGS.walk;
  const list = el("div", { class: "strips weighted-sum" });
  const legend = createLegend();
  const tabled = withTable(list, () => {
    const { run } = app.result;
    if (run === null) return { caption: caption.terms, columns: [], rows: [] };
    const components = Array.from({ length: headDim }, (_, i) => String(i + 1));
    return {
      caption: caption.terms,
      columns: [STRINGS.attended.patch, ...components],
      rows: termsOf(app, run).map(({ name, values }) => [name, ...Array.from(values, (value) => decimal(value))]),
    };
  });
  const element = el("section", { class: "strip-panel" }, legend.element, tabled.element);
  function update() {
    const { run } = app.result;
    if (run === null) return;
    const { value, weights, context } = chosenHead(app, run);
    const row = rowOf(app, weights, app.state.queryToken);
    const domain = roundDomain(largestSize(value));
    const order = Array.from(row, (_, token) => token).sort((a, b) => row[b] - row[a]);
    const [first, rest] = [order.slice(0, SHOWN), order.slice(SHOWN)];
    fill(
      list,
      ...first.map((token) =>
        line(
          `${percent(row[token])} × v, ${tokenName(app, token).toLowerCase()}`,
          weightedValue(value, token, headDim, row[token]),
          domain,
        ),
      ),
      rest.length > 0 &&
        line(
          caption.rest(rest.length, rest.reduce((sum, token) => sum + row[token], 0)),
          rest.map((token) => weightedValue(value, token, headDim, row[token])).reduce(added),
          domain,
        ),
      line(`= ${caption.context}`, vectorOf(context, app.state.queryToken, headDim), domain),
    );
    legend.show(signedScale(domain, caption.strips));
    if (!app.drawing) tabled.update();
  }
  return { element, update };
}

/**
 * All terms of the weighted sum, then the sum.
 * @param {App} app
 * @param {import("../model.js").Run} run
 */
export function termsOf(app, run) {
  const { headDim, tokens } = app.config;
  const { value, weights, context } = chosenHead(app, run);
  const shares = rowOf(app, weights, app.state.queryToken);
  const terms = Array.from({ length: tokens }, (_, token) => ({
    name: `${tokenName(app, token)}, ${percent(shares[token])} × v`,
    values: weightedValue(value, token, headDim, shares[token]),
  }));
  const sum = { name: STRINGS.walk.caption.context, values: vectorOf(context, app.state.queryToken, headDim) };
  return [...terms, sum];
}

/**
 * A token's value times its weight.
 * @param {Float64Array} value
 * @param {number} token
 * @param {number} headDim
 * @param {number} weight
 */
function weightedValue(value, token, headDim, weight) {
  return vectorOf(value, token, headDim).map((component) => weight * component);
}

/**
 * @param {string} name
 * @param {Float64Array} values
 * @param {number} domain
 */
function line(name, values, domain) {
  const canvas = createCanvas(1, 1, "strip");
  canvas.setAttribute("aria-hidden", "true");
  drawStrip(canvas, values, domain);
  return el("div", { class: "strip-line" }, el("span", { class: "strip-name" }, name), canvas);
}

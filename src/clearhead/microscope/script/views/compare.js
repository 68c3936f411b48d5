// Two digits under the same head: both maps, and their difference.

import { signedColour, weightColour } from "../colours.js";
import { el, setText } from "../element.js";
import { decimal } from "../numbers.js";
import { signedScale, weightScale } from "../scales.js";
import { STRINGS } from "../strings.js";
import { predictionWords } from "./prediction.js";
import { createExamples } from "./digit.js";
import { createGrid } from "./grid.js";
import { createLegend } from "./legend.js";
import { createPad } from "./pad.js";
import { createLayerAndHead, createScale } from "./pickers.js";
import { withTable } from "./tabled.js";
import { chosenHead, tokenName, tokenShort } from "./tokens.js";

/** @typedef {import("../store.js").App} App */

const words = STRINGS.compare;

/** @param {App} app */
export function createCompare(app) {
  const pickers = [createLayerAndHead(app), createScale(app)];
  const pad = createPad(app, "second", STRINGS.draw.second);
  const examples = createExamples(app, "second");
  const swap = el(
    "button",
    { type: "button", on: { click: () => app.set({ strokes: app.state.second, second: app.state.strokes }) } },
    words.swap,
  );
  const legend = createLegend();
  const apart = createLegend();
  const maps = [words.first, words.second, words.difference].map((name) => createMap(app, name));
  const sentence = el("p", { class: "sentence" });
  const row = el("div", { class: "three matrices" }, ...maps.map(({ element }) => element));
  const tabled = withTable(row, () => differenceTable(app));
  const element = el(
    "div",
    { class: "view compare" },
    el("div", { class: "toolbar" }, ...pickers.map((picker) => picker.element)),
    el(
      "div",
      { class: "panel" },
      el("h3", {}, words.heading),
      el("p", { class: "small" }, words.note),
      tabled.element,
      el("div", { class: "legends" }, legend.element, apart.element),
    ),
    sentence,
    el(
      "div",
      { class: "panel second-digit" },
      el("h3", {}, STRINGS.draw.second),
      pad.element,
      examples.element,
      el("div", { class: "buttons" }, swap),
    ),
  );
  function update() {
    for (const picker of pickers) picker.update();
    pad.update();
    examples.update();
    const facts = compareFacts(app);
    row.classList.toggle("nothing", facts === null);
    if (facts === null) {
      setText(sentence, app.result.run === null ? "" : STRINGS.nothing);
      return;
    }
    const { tokens } = app.config;
    const { scale } = app.state;
    const largest = Math.max(...facts.first, ...facts.second);
    legend.show(weightScale(scale, 1 / tokens, largest));
    apart.show(signedScale(100, words.domain));
    /** @param {number} weight */
    const colour = (weight) => weightColour(weight, scale, 1 / tokens, largest);
    maps[0].update(facts.first, colour, facts.predictions[0], STRINGS.matrix.weight);
    maps[1].update(facts.second, colour, facts.predictions[1], STRINGS.matrix.weight);
    maps[2].update(facts.difference, (value) => signedColour(value, 1), "", words.cell);
    setText(sentence, words.sentence(facts.predictions[0], facts.predictions[1], facts.largest * 100));
    if (!app.drawing) tabled.update();
  }
  return { element, update, updatePad: pad.update };
}

/**
 * The chosen head's weights of both digits; null if one has no prediction.
 * @param {App} app
 */
export function compareFacts(app) {
  const other = app.compute(app.state, app.state.second);
  if (!app.result.run || !other.run) return null;
  const first = chosenHead(app, app.result.run).weights;
  const second = chosenHead(app, other.run).weights;
  const difference = second.map((weight, i) => weight - first[i]);
  return {
    first,
    second,
    difference,
    largest: difference.reduce((max, value) => Math.max(max, Math.abs(value)), 0),
    predictions: [predictionWords(app.result, app.config), predictionWords(other, app.config)],
  };
}

/**
 * @param {App} app
 * @param {string} name
 */
function createMap(app, name) {
  const { tokens } = app.config;
  const heads = Array.from({ length: tokens }, (_, token) => ({
    text: tokenShort(app, token),
    label: tokenName(app, token),
  }));
  const grid = createGrid({
    rows: tokens,
    columns: tokens,
    className: "matrix compact",
    corner: STRINGS.matrix.corner,
    rowHeads: heads,
    columnHeads: heads,
    move: (queryToken, keyToken) => app.set({ queryToken, keyToken }),
  });
  const prediction = el("p", { class: "small" });
  const element = el("figure", {}, el("figcaption", {}, el("b", {}, name)), prediction, grid.element);
  /**
   * @param {Float64Array} values
   * @param {(value: number) => import("../colours.js").Colour} colourOf
   * @param {string} text the prediction
   * @param {(queryToken: string, keyToken: string, value: number, times: number) => string} label
   */
  const update = (values, colourOf, text, label) => {
    setText(prediction, text);
    grid.update({
      label: `${name}, ${STRINGS.matrix.label(STRINGS.pick.stages.weights, app.state.layer, app.state.head)}`,
      chosen: [app.state.queryToken, app.state.keyToken],
      settled: !app.drawing,
      cells: Array.from(values, (value, i) => ({
        colour: colourOf(value),
        label: label(
          tokenName(app, Math.floor(i / tokens)),
          tokenName(app, i % tokens).toLowerCase(),
          value,
          value * tokens,
        ),
      })),
    });
  };
  return { element, update };
}

/** @param {App} app */
function differenceTable(app) {
  const { tokens } = app.config;
  const names = Array.from({ length: tokens }, (_, token) => tokenShort(app, token));
  const facts = compareFacts(app);
  return {
    caption: `${words.difference}, ${words.domain}`,
    columns: [STRINGS.matrix.corner, ...names],
    rows: names.map((name, queryToken) => [
      name,
      ...names.map((_, keyToken) =>
        facts ? decimal(facts.difference[queryToken * tokens + keyToken] * 100, 1) : "",
      ),
    ]),
  };
}

// Text: a sentence, which word attends to which, and the referent of "it".

import { argmax } from "../arithmetic.js";
import { weightColour } from "../colours.js";
import { el, fill, setAttribute, setText } from "../element.js";
import { multiple, percent } from "../numbers.js";
import {
  ENDINGS,
  ending,
  lastWord,
  pronounIn,
  cachedSentence,
  swapped,
  weightsOf,
} from "../sentences.js";
import { MAX_LENGTH, MEAN } from "../state.js";
import { weightScale, writtenWeight } from "../scales.js";
import { STRINGS } from "../strings.js";
import { splitWords } from "../words.js";
import { createArcs } from "./arcs.js";
import { createChoice } from "./choice.js";
import { createGrid } from "./grid.js";
import { createLegend } from "./legend.js";
import { createScale } from "./pickers.js";
import { tableElement, withTable } from "./tabled.js";

/** @typedef {import("../store.js").App} App */
/** @typedef {ReturnType<typeof createGrid>} Grid */

const words = STRINGS.text;
const LONG = 16; // letters from which a word gets a title, because it may be cut

/** @param {App} app */
export function createText(app) {
  const resultOf = cachedSentence(app.textModel);
  const field = createField(app);
  const head = createHeadChoice(app);
  const row = el("div", { class: "words" });
  const arcs = createArcs(row);
  const legend = createLegend();
  const scale = createScale(app);
  const notes = [el("p", { class: "small" }), el("p", { class: "sentence" }), el("p", { class: "small" })];
  const table = el("div", { class: "table-holder", tabindex: 0, role: "region" });
  const matrix = el("div", { class: "words-matrix" });
  const tabled = withTable(matrix, () => matrixTable(app, resultOf(app.state.sentence)));
  const element = el(
    "div",
    { class: "view text" },
    el("div", { class: "toolbar" }, field.element, head.element),
    el("div", { class: "panel" }, el("h2", {}, words.heading), notes[0], el("div", { class: "arcs-holder" }, arcs.element, row), notes[1], notes[2]),
    el("div", { class: "panel text-maps" }, el("section", {}, legend.element, tabled.element, scale.element), table),
    el("p", { class: "small" }, tiny(app)),
  );
  let shown = "";
  /** The chosen entry of the matrix: query and key word. */
  let gone = [-1, -1];
  /** @type {Grid | null} */
  let grid = null;
  /** @type {ReturnType<typeof createChoice<number>> | null} */
  let choice = null;

  return {
    element,
    update: () => {
      field.update();
      head.update();
      scale.update();
      const result = resultOf(app.state.sentence);
      setText(notes[0], remark(app, result));
      notes[0].hidden = notes[0].textContent === "";
      setAttribute(element, "data-status", result.status);
      if (result.run === null) return;
      if (shown !== result.words.join(" ")) {
        shown = result.words.join(" ");
        choice = createWords(app, result.words);
        grid = createMatrix(result.words, (word, keyToken) => {
          gone = [word, keyToken];
          app.set({ word });
        });
        fill(row, ...choice.buttons);
        setAttribute(row, "role", "radiogroup");
        setAttribute(row, "aria-label", words.words);
        fill(matrix, grid.element);
      }
      const queryToken = queryWordOf(app, result.words);
      const weights = weightsOf(result.run, app.state.textLayer, app.state.textHead);
      const count = result.words.length;
      const weightsRow = weights.subarray(queryToken * count, (queryToken + 1) * count);
      choice?.update(queryToken);
      choice?.buttons.forEach((button, i) => button.style.setProperty("--weight", String(weightsRow[i])));
      arcs.update(queryToken, weightsRow);
      const largest = weights.reduce((max, weight) => Math.max(max, weight), 0);
      legend.show(weightScale(app.state.scale, 1 / count, largest));
      const best = argmax(weightsRow);
      const chosen = gone[0] === queryToken ? gone[1] : best;
      updateMatrix(app, grid, result.words, weights, [queryToken, Math.min(chosen, count - 1)]);
      setText(notes[1], words.sentence(result.words[queryToken], result.words[best], weightsRow[best], weightsRow[best] * count));
      setText(notes[2], questionLine(result));
      const rows = rowTable(result.words, queryToken, weightsRow);
      setAttribute(table, "aria-label", rows.caption);
      fill(table, tableElement(rows));
      tabled.update();
    },
  };
}

/** The sentence, and controls for its last word and its two nouns. @param {App} app */
function createField(app) {
  /** @param {string | null} sentence */
  const setSentence = (sentence) => {
    if (sentence !== null) app.set({ sentence, word: pronounIn(splitWords(sentence)) });
  };
  const input = el("textarea", {
    rows: 1,
    id: "sentence",
    maxlength: MAX_LENGTH,
    spellcheck: "false",
    autocomplete: "off",
    on: { input: () => setSentence(input.value) },
  });
  const last = createChoice({
    label: words.ending,
    options: ENDINGS.map((value) => ({ value, text: value })),
    choose: (value) => setSentence(ending(app.state.sentence, value)),
  });
  const swap = el("button", { type: "button", on: { click: () => setSentence(swapped(app.state.sentence)) } }, words.swap);
  const label = el("label", { for: "sentence", class: "label" }, words.label);
  const element = el("div", { class: "sentence-field" }, label, input, el("div", { class: "buttons" }, last.element, swap));
  return {
    element,
    update: () => {
      if (input.value !== app.state.sentence) input.value = app.state.sentence;
      const other = swapped(app.state.sentence) === null;
      swap.disabled = other;
      for (const button of last.buttons) button.disabled = other;
      last.update(lastWord(app.state.sentence));
      const chosen = ENDINGS.includes(lastWord(app.state.sentence));
      if (!chosen) setAttribute(last.buttons[0], "tabindex", 0);
    },
  };
}

/** @param {App} app */
function createHeadChoice(app) {
  const { depth, numHeads } = app.textModel.config;
  const layer = createChoice({
    label: STRINGS.pick.layer,
    options: Array.from({ length: depth }, (_, i) => ({ value: i, text: String(i + 1), label: STRINGS.pick.layerName(i) })),
    choose: (value) => app.set({ textLayer: value }),
  });
  const heads = Array.from({ length: numHeads }, (_, i) => ({ value: i, text: String(i + 1), label: STRINGS.pick.headName(i) }));
  const head = createChoice({
    label: words.head,
    options: [{ value: MEAN, text: words.mean, label: words.meanLabel }, ...heads],
    choose: (value) => app.set({ textHead: value }),
  });
  return {
    element: el("div", { class: "pickers" }, layer.element, head.element),
    update: () => {
      layer.update(app.state.textLayer);
      head.update(app.state.textHead);
    },
  };
}

/**
 * @param {App} app
 * @param {readonly string[]} sentence
 */
function createWords(app, sentence) {
  const choice = createChoice({
    label: words.words,
    options: sentence.map((word, value) => ({ value, text: word, label: words.queryToken(word) })),
    choose: (word) => app.set({ word }),
  });
  choice.buttons.forEach((button, i) => setAttribute(button, "title", sentence[i].length > LONG ? sentence[i] : null));
  return choice;
}

/**
 * @param {readonly string[]} sentence
 * @param {(word: number, keyToken: number) => void} move
 */
function createMatrix(sentence, move) {
  const heads = sentence.map((word) => ({ text: word, label: word }));
  return createGrid({
    rows: sentence.length,
    columns: sentence.length,
    className: "matrix of-words",
    corner: STRINGS.matrix.corner,
    rowHeads: heads,
    columnHeads: heads,
    move,
  });
}

/**
 * @param {App} app
 * @param {Grid | null} map
 * @param {readonly string[]} sentence
 * @param {Float64Array} weights
 * @param {[number, number]} chosen query and key word
 */
function updateMatrix(app, map, sentence, weights, chosen) {
  const even = 1 / sentence.length;
  const largest = weights.reduce((max, weight) => Math.max(max, weight), 0);
  map?.update({
    label: captionOf(app),
    chosen,
    cells: Array.from(weights, (weight, i) => ({
      colour: weightColour(weight, app.state.scale, even, largest),
      text: writtenWeight(weight, even),
      label: words.cell(sentence[Math.floor(i / sentence.length)], sentence[i % sentence.length], weight, weight / even),
    })),
  });
}

/**
 * The query word: the chosen one, or the last if the sentence is shorter.
 * @param {App} app
 * @param {readonly string[]} sentence
 */
export function queryWordOf({ state }, sentence) {
  return Math.min(state.word, sentence.length - 1);
}

/** The layer and head shown, in words. @param {App} app */
export function captionOf({ state }) {
  const head = state.textHead === MEAN ? words.meanLabel : STRINGS.pick.headName(state.textHead);
  return words.caption(state.textLayer, head.toLowerCase());
}

/**
 * @param {readonly string[]} sentence
 * @param {number} queryToken
 * @param {Float64Array} weightsRow
 */
function rowTable(sentence, queryToken, weightsRow) {
  return {
    caption: words.table(sentence[queryToken]),
    columns: [words.keyToken, words.weight, words.times],
    rows: sentence.map((word, i) => [word, percent(weightsRow[i]), multiple(weightsRow[i] * sentence.length)]),
  };
}

/**
 * @param {App} app
 * @param {import("../sentences.js").TextResult} result
 */
function matrixTable(app, result) {
  const { run, words: sentence } = result;
  const weights = run ? weightsOf(run, app.state.textLayer, app.state.textHead) : new Float64Array(0);
  return {
    caption: captionOf(app),
    columns: [STRINGS.matrix.corner, ...sentence],
    rows: sentence.map((word, i) => [
      word,
      ...Array.from(weights.subarray(i * sentence.length, (i + 1) * sentence.length), percent),
    ]),
  };
}

/**
 * @param {App} app
 * @param {import("../sentences.js").TextResult} result
 */
function remark({ textModel }, { status, words: sentence, unknown }) {
  if (status === "empty") return words.empty;
  if (status === "long") return words.long(sentence.length, textModel.config.contextLength);
  return unknown.length ? words.unknown(unknown) : "";
}

/**
 * The model's predictions for "which one?", or the reason why there are none.
 * @param {import("../sentences.js").TextResult} result
 */
function questionLine({ question, predictions, ended, words: sentence }) {
  if (question !== "applies") return words.questionReasons[question];
  const absent = predictions.map(({ word }) => word).filter((word) => !sentence.includes(word));
  return [words.predictions(predictions), ended && words.ended, absent.length > 0 && words.absent(absent)]
    .filter(Boolean)
    .join(" ");
}

/** @param {App} app */
function tiny({ payload, textModel }) {
  const count = payload.text.tensors.reduce(
    (sum, { shape }) => sum + shape.reduce((product, length) => product * length, 1),
    0,
  );
  const { vocabulary, depth } = textModel.config;
  return words.tiny(count.toLocaleString("en-GB"), vocabulary.length, depth);
}

// The panels of numbers and colours that are saved of each view.

import { roundDomain, shareColour, signedColour, weightColour } from "../colours.js";
import { percent, points } from "../numbers.js";
import { scoreDomain, writtenWeight } from "../scales.js";
import { STRINGS } from "../strings.js";
import { largestSize } from "./bars.js";
import { compareFacts } from "./compare.js";
import { trainedRun } from "./experiments.js";
import { importanceFacts } from "./importance.js";
import { termsOf } from "./weightedsum.js";
import { chosenHead, tokenShort } from "./tokens.js";

const ROOMY = 48; // pixels: fits the longest number

/** @typedef {import("../store.js").App} App */
/** @typedef {import("../colours.js").Colour} Colour */
/** @typedef {import("../stages.js").StageName} StageName */

/**
 * @typedef {Object} Panel numbers in rows and columns
 * @property {string} name
 * @property {string[]} rows their names
 * @property {string[]} columns their names
 * @property {[string, string]} [axes] names of rows and columns, if not query and key tokens
 * @property {ArrayLike<number>} values row by row
 * @property {(value: number) => Colour} colourOf
 * @property {(value: number) => string} [textOf] text of a cell
 * @property {number} [queryToken] the row that is framed
 * @property {number} [cell] side of a cell in pixels, if not the usual one
 */

/**
 * @param {App} app
 * @param {import("../model.js").Run} run
 */
export function largestShown(app, run) {
  const facts = app.state.tab === "compare" ? compareFacts(app) : null;
  const maps = facts
    ? [facts.first, facts.second]
    : app.state.tab === "heads"
      ? run.layers.flatMap(({ heads }) => heads.map(({ weights }) => weights))
      : [chosenHead(app, run).weights];
  return Math.max(...maps.map((values) => values.reduce((max, value) => Math.max(max, value), 0)));
}

/**
 * @param {App} app
 * @param {import("../model.js").Run} run
 * @param {StageName} stage
 * @returns {Panel}
 */
export function stagePanel(app, run, stage) {
  const { state } = app;
  const domain = scoreDomain(chosenHead(app, run));
  return {
    name: STRINGS.matrix.label(STRINGS.pick.stages[stage], state.layer, state.head),
    ...square(app),
    values: chosenHead(app, run)[stage],
    colourOf: stage === "weights" ? colourOfWeight(app, run) : (value) => signedColour(value, domain),
    textOf: stage === "weights" ? textOfWeight(app) : undefined,
  };
}

/**
 * @param {App} app
 * @param {import("../model.js").Run} run
 * @returns {Panel[]}
 */
export function headPanels(app, run) {
  const colourOf = colourOfWeight(app, run);
  return run.layers.flatMap(({ heads }, layer) =>
    heads.map(({ weights }, head) => ({
      name: STRINGS.heads.name(layer, head),
      ...square(app),
      values: weights,
      colourOf,
    })),
  );
}

/** @param {App} app @returns {Panel[]} */
export function comparePanels(app) {
  const facts = compareFacts(app);
  const { run } = app.result;
  if (facts === null || run === null) return [];
  const shown = { ...square(app), colourOf: colourOfWeight(app, run), textOf: textOfWeight(app) };
  const [first, second] = facts.predictions;
  return [
    { ...shown, name: `${STRINGS.compare.first}: ${first}`, values: facts.first },
    { ...shown, name: `${STRINGS.compare.second}: ${second}`, values: facts.second },
    {
      name: `${STRINGS.compare.difference}, ${STRINGS.compare.domain}`,
      ...square(app),
      values: facts.difference,
      colourOf: (value) => signedColour(value, 1),
    },
  ];
}

/**
 * @param {App} app
 * @param {import("../model.js").Run} run
 * @returns {(weight: number) => Colour}
 */
function colourOfWeight(app, run) {
  const largest = largestShown(app, run);
  return (weight) => weightColour(weight, app.state.scale, 1 / app.config.tokens, largest);
}

/** @param {App} app @returns {(weight: number) => string} */
function textOfWeight({ config }) {
  return (weight) => writtenWeight(weight, 1 / config.tokens);
}

/** Rows and columns of a matrix of tokens × tokens. @param {App} app */
function square(app) {
  const names = Array.from({ length: app.config.tokens }, (_, token) => tokenShort(app, token));
  return { rows: names, columns: names, queryToken: app.state.queryToken };
}

/**
 * The terms of the weighted sum, and the sum.
 * @param {App} app
 * @param {import("../model.js").Run} run
 * @returns {Panel}
 */
export function weightedSumPanel(app, run) {
  const terms = termsOf(app, run);
  const domain = valueDomain(app, run);
  return {
    name: STRINGS.walk.caption.terms,
    rows: terms.map(({ name }) => name),
    columns: Array.from({ length: app.config.headDim }, (_, i) => String(i + 1)),
    axes: [STRINGS.export.term, STRINGS.export.component],
    values: terms.flatMap(({ values }) => Array.from(values)),
    colourOf: (value) => signedColour(value, domain),
  };
}

/** @param {App} app @param {import("../model.js").Run} run */
export function valueDomain(app, run) {
  return roundDomain(largestSize(chosenHead(app, run).value));
}

/** Three maps of patch importance; masking once it is computed. @param {App} app @returns {Panel[]} */
export function importancePanels(app) {
  const facts = importanceFacts(app);
  const [rows, columns] = app.config.grid.map((length) => Array.from({ length }, (_, i) => String(i + 1)));
  const map = { rows, columns, cell: ROOMY, axes: /** @type {[string, string]} */ ([STRINGS.export.row, STRINGS.export.column]) };
  const { last, rollout, masking } = STRINGS.importance;
  const shares = { colourOf: shareColour, textOf: (/** @type {number} */ share) => percent(share).replace("\u202f%", "") };
  const panels = [
    { ...map, ...shares, name: last, values: facts.map((fact) => fact.last) },
    { ...map, ...shares, name: rollout, values: facts.map((fact) => fact.rollout) },
  ];
  const changes = facts.flatMap((fact) => fact.masking ?? []);
  if (changes.length < facts.length) return panels;
  /** @param {number} change */
  const colourOf = (change) => signedColour(change, 1);
  return [...panels, { ...map, name: masking, values: changes, colourOf, textOf: points }];
}

/**
 * The probabilities of the trained model and of the changed one.
 * @param {App} app
 * @param {import("../model.js").Run} run
 * @returns {Panel}
 */
export function probabilitiesPanel(app, run) {
  const { trained, now } = STRINGS.experiments.models;
  const before = trainedRun(app) ?? run;
  return {
    name: STRINGS.prediction.label,
    rows: [trained, now],
    columns: app.config.classNames,
    cell: ROOMY,
    axes: [STRINGS.export.who, STRINGS.prediction.className],
    values: [...before.probabilities, ...run.probabilities],
    colourOf: shareColour,
    textOf: (share) => percent(share).replace("\u202f%", ""),
  };
}

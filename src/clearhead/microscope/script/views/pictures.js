// The current view as plain data to save: panels of numbers with their settings.

import { weightColour } from "../colours.js";
import { scoreDomain, signedScale, weightScale, writtenWeight } from "../scales.js";
import { STRINGS, headLabel, layerLabel } from "../strings.js";
import { predictionWords } from "./prediction.js";
import { changesOf } from "./experiments.js";
import {
  probabilitiesPanel,
  comparePanels,
  headPanels,
  largestShown,
  importancePanels,
  stagePanel,
  valueDomain,
  weightedSumPanel,
} from "./panels.js";
import { queryWordOf, captionOf } from "./text.js";
import { computeSentence, weightsOf } from "../sentences.js";
import { MEAN } from "../state.js";
import { chosenHead, tokenName } from "./tokens.js";

/** @typedef {import("../store.js").App} App */
/** @typedef {import("../stages.js").StageName} StageName */
/** @typedef {import("./panels.js").Panel} Panel */

/**
 * @typedef {Object} Picture
 * @property {string} file name without extension
 * @property {string} title
 * @property {[string, string][]} facts
 * @property {Panel[]} panels
 * @property {number} columns panels side by side
 * @property {import("../scales.js").Scale[]} scales the panels' colour scales
 */

/** @typedef {"stage" | "pair" | "weightedSum" | "importance" | "experiments" | "heads" | "compare"} Kind of picture */

/** The pictures of the walk's steps; other steps have none. @type {Record<number, {kind: Kind, stage: StageName}>} */
const STEPS = {
  4: { kind: "stage", stage: "scores" },
  5: { kind: "pair", stage: "scaled" },
  6: { kind: "stage", stage: "weights" },
  7: { kind: "weightedSum", stage: "weights" },
};

/**
 * @param {App} app
 * @returns {Picture | null} null if the view has no picture
 */
export function pictureOf(app) {
  if (app.state.tab === "text") return textPicture(app);
  const { run } = app.result;
  const { tab, layer, head, step } = app.state;
  const kind = kindOf(app);
  if (run === null || kind === null) return null;
  const panels = panelsOf(app, run, kind);
  if (panels.length === 0) return null;
  const part = tab === "walk" ? `-step-${step + 1}` : tab === kind || kind === "stage" ? "" : `-${kind}`;
  const where = kind === "importance" ? "" : `-${headLabel(layer, head).replace(" ", "")}`;
  return {
    file: `clearhead-${tab}${part}${where}`,
    title: STRINGS.export.title(STRINGS.tabs[tab]),
    facts: factsOf(app, run, kind),
    panels,
    columns: kind === "heads" ? app.config.numHeads : kind === "experiments" ? 1 : panels.length,
    scales: scalesOf(app, run, kind),
  };
}

/** @param {App} app @returns {Kind | null} */
function kindOf({ state }) {
  const { tab, step, focus } = state;
  if (tab === "walk") return STEPS[step]?.kind ?? null;
  if (tab === "heads" || tab === "compare") return tab;
  if (tab !== "explore") return null;
  return focus === "attended" ? "stage" : focus;
}

/**
 * @param {App} app
 * @param {import("../model.js").Run} run
 * @param {Kind} kind
 */
function panelsOf(app, run, kind) {
  const stage = () => stagePanel(app, run, stageOf(app));
  return {
    stage: () => [stage()],
    pair: () => [stagePanel(app, run, "scores"), stage()],
    weightedSum: () => [weightedSumPanel(app, run)],
    importance: () => importancePanels(app),
    experiments: () => [stage(), probabilitiesPanel(app, run)],
    heads: () => headPanels(app, run),
    compare: () => comparePanels(app),
  }[kind]();
}

/** @param {App} app @returns {Picture | null} */
function textPicture(app) {
  const { sentence, textLayer, textHead, scale } = app.state;
  const { run, words } = computeSentence(app.textModel, sentence);
  if (run === null) return null;
  const values = weightsOf(run, textLayer, textHead);
  const largest = values.reduce((max, value) => Math.max(max, value), 0);
  const even = 1 / words.length;
  const stretched = scale === "stretched" ? `, ${STRINGS.matrix.stretched(largest)}` : "";
  return {
    file: `clearhead-text-${textHead === MEAN ? `${layerLabel(textLayer)}-mean` : headLabel(textLayer, textHead).replace(" ", "")}`,
    title: STRINGS.export.title(STRINGS.tabs.text),
    facts: [
      [STRINGS.text.label, sentence],
      [STRINGS.export.scale, `${STRINGS.pick.scales[scale]}, ${STRINGS.matrix.even(even)}${stretched}`],
      [STRINGS.export.queryToken, words[queryWordOf(app, words)]],
      [STRINGS.export.matrices, STRINGS.export.directions],
    ],
    panels: [
      {
        name: captionOf(app),
        rows: words,
        columns: words,
        queryToken: queryWordOf(app, words),
        values,
        colourOf: (value) => weightColour(value, scale, even, largest),
        textOf: (value) => writtenWeight(value, even),
      },
    ],
    columns: 1,
    scales: [weightScale(scale, even, largest)],
  };
}

/**
 * @param {App} app
 * @param {import("../model.js").Run} run
 * @param {Kind} kind
 */
function scalesOf(app, run, kind) {
  const even = 1 / app.config.tokens;
  const shares = weightScale("fixed", even, 1);
  if (kind === "weightedSum") return [signedScale(valueDomain(app, run), STRINGS.walk.caption.strips)];
  if (kind === "importance") return [shares, signedScale(100, STRINGS.importance.domain(100))];
  const weights = weightScale(app.state.scale, even, largestShown(app, run));
  if (kind === "compare") return [weights, signedScale(100, STRINGS.compare.domain)];
  if (kind === "heads") return [weights];
  const domain = scoreDomain(chosenHead(app, run));
  const stage = stageOf(app) === "weights" ? weights : signedScale(domain, STRINGS.matrix.domain(domain));
  return kind === "experiments" && stage.note !== shares.note ? [stage, shares] : [stage];
}

/** @param {App} app @returns {StageName} */
function stageOf({ state }) {
  return state.tab === "walk" ? STEPS[state.step].stage : state.stage;
}

/**
 * @param {App} app
 * @param {import("../model.js").Run} run
 * @param {Kind} kind
 * @returns {[string, string][]}
 */
function factsOf(app, run, kind) {
  const { state, config } = app;
  const changes = changesOf(app);
  const prediction = /** @type {[string, string]} */ ([STRINGS.export.prediction, predictionWords(app.result, config)]);
  const switches = /** @type {[string, string]} */ ([STRINGS.export.switches, changes.length ? changes.join(", ") : STRINGS.export.trained]);
  if (kind === "importance") return [prediction, switches];
  const every = kind === "heads";
  /** @type {[string, string][]} */
  const where = [
    [STRINGS.pick.layer, every ? `1–${config.depth}` : String(state.layer + 1)],
    [STRINGS.pick.head, every ? `1–${config.numHeads}` : String(state.head + 1)],
  ];
  const queryToken = /** @type {[string, string]} */ ([STRINGS.export.queryToken, tokenName(app, state.queryToken)]);
  if (kind === "weightedSum") return [prediction, ...where, queryToken, switches];
  const stage = every || kind === "compare" ? "weights" : stageOf(app);
  return [
    prediction,
    ...where,
    [STRINGS.pick.stage, STRINGS.pick.stages[stage]],
    [STRINGS.export.scale, scaleWords(app, run, stage)],
    queryToken,
    [STRINGS.export.matrices, STRINGS.export.directions],
    switches,
  ];
}

/**
 * @param {App} app
 * @param {import("../model.js").Run} run
 * @param {StageName} stage
 */
function scaleWords(app, run, stage) {
  if (stage !== "weights") return STRINGS.matrix.domain(scoreDomain(chosenHead(app, run)));
  const { scale } = app.state;
  const stretched = scale === "stretched" ? `, ${STRINGS.matrix.stretched(largestShown(app, run))}` : "";
  return `${STRINGS.pick.scales[scale]}, ${STRINGS.matrix.even(1 / app.config.tokens)}${stretched}`;
}

// The current view as plain data, ready to be saved: panels of numbers with all that is needed to read them.

import { weightColour } from "../colours.js";
import { scoreDomain, signedScale, weightScale, writtenWeight } from "../scales.js";
import { STRINGS, headName } from "../strings.js";
import { answerWords } from "./answer.js";
import { changesOf } from "./experiments.js";
import {
  answersPanel,
  comparePanels,
  headPanels,
  largestShown,
  matteredPanels,
  stagePanel,
  takenDomain,
  takenPanel,
} from "./panels.js";
import { askerOf, captionOf } from "./text.js";
import { readSentence, weightsOf } from "../sentences.js";
import { MEAN } from "../state.js";
import { chosenHead, tokenName } from "./tokens.js";

/** @typedef {import("../store.js").App} App */
/** @typedef {import("../stages.js").StageName} StageName */
/** @typedef {import("./panels.js").Panel} Panel */

/**
 * @typedef {Object} Picture
 * @property {string} file name without its ending
 * @property {string} title
 * @property {[string, string][]} facts
 * @property {Panel[]} panels
 * @property {number} columns panels side by side
 * @property {import("../scales.js").Scale[]} scales what the panels' colours mean
 */

/** @typedef {"stage" | "pair" | "taken" | "mattered" | "experiments" | "heads" | "compare"} Kind of what is shown */

/** What a step of the walk shows; the other steps have no picture. @type {Record<number, {kind: Kind, stage: StageName}>} */
const STEPS = {
  4: { kind: "stage", stage: "scores" },
  5: { kind: "pair", stage: "scaled" },
  6: { kind: "stage", stage: "weights" },
  7: { kind: "taken", stage: "weights" },
};

/**
 * @param {App} app
 * @returns {Picture | null} null where there is nothing to save
 */
export function pictureOf(app) {
  if (app.state.tab === "text") return textPicture(app);
  const { run } = app.reading;
  const { tab, layer, head, step } = app.state;
  const kind = kindOf(app);
  if (run === null || kind === null) return null;
  const panels = panelsOf(app, run, kind);
  if (panels.length === 0) return null;
  const part = tab === "walk" ? `-step-${step + 1}` : tab === kind || kind === "stage" ? "" : `-${kind}`;
  const where = kind === "mattered" ? "" : `-${layer + 1}${headName(head)}`;
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
  return focus === "answered" ? "stage" : focus;
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
    taken: () => [takenPanel(app, run)],
    mattered: () => matteredPanels(app),
    experiments: () => [stage(), answersPanel(app, run)],
    heads: () => headPanels(app, run),
    compare: () => comparePanels(app),
  }[kind]();
}

/** @param {App} app @returns {Picture | null} */
function textPicture(app) {
  const { sentence, textLayer, textHead, scale } = app.state;
  const { run, words } = readSentence(app.textModel, sentence);
  if (run === null) return null;
  const values = weightsOf(run, textLayer, textHead);
  const largest = values.reduce((most, value) => Math.max(most, value), 0);
  const even = 1 / words.length;
  const stretched = scale === "stretched" ? `, ${STRINGS.matrix.stretched(largest)}` : "";
  return {
    file: `clearhead-text-${textLayer + 1}${textHead === MEAN ? "-mean" : headName(textHead)}`,
    title: STRINGS.export.title(STRINGS.tabs.text),
    facts: [
      [STRINGS.text.label, sentence],
      [STRINGS.export.scale, `${STRINGS.pick.scales[scale]}, ${STRINGS.matrix.even(even)}${stretched}`],
      [STRINGS.export.asker, words[askerOf(app, words)]],
      [STRINGS.export.matrices, STRINGS.export.directions],
    ],
    panels: [
      {
        name: captionOf(app),
        rows: words,
        columns: words,
        asker: askerOf(app, words),
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
  if (kind === "taken") return [signedScale(takenDomain(app, run), STRINGS.walk.caption.strips)];
  if (kind === "mattered") return [shares, signedScale(100, STRINGS.mattered.domain(100))];
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
  const reads = /** @type {[string, string]} */ ([STRINGS.export.reads, answerWords(app.reading, config.answers)]);
  const switches = /** @type {[string, string]} */ ([STRINGS.export.switches, changes.length ? changes.join(", ") : STRINGS.export.trained]);
  if (kind === "mattered") return [reads, switches];
  const every = kind === "heads";
  /** @type {[string, string][]} */
  const where = [
    [STRINGS.pick.layer, every ? `1–${config.depth}` : String(state.layer + 1)],
    [STRINGS.pick.head, every ? `A–${headName(config.numHeads - 1)}` : headName(state.head)],
  ];
  const asker = /** @type {[string, string]} */ ([STRINGS.export.asker, tokenName(app, state.asker)]);
  if (kind === "taken") return [reads, ...where, asker, switches];
  const stage = every || kind === "compare" ? "weights" : stageOf(app);
  return [
    reads,
    ...where,
    [STRINGS.pick.stage, STRINGS.pick.stages[stage]],
    [STRINGS.export.scale, scaleWords(app, run, stage)],
    asker,
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

// The current view as plain data, ready to be saved: panels of numbers with all that is needed to read them.

import { signedColour, weightColour } from "../colours.js";
import { scoreDomain, signedScale, weightScale, writtenWeight } from "../scales.js";
import { STRINGS, headName } from "../strings.js";
import { answerWords } from "./answer.js";
import { compareFacts } from "./compare.js";
import { changesOf } from "./experiments.js";
import { askerOf, captionOf } from "./text.js";
import { readSentence, weightsOf } from "../sentences.js";
import { MEAN } from "../state.js";
import { chosenHead, tokenName, tokenShort } from "./tokens.js";

/** @typedef {import("../store.js").App} App */
/** @typedef {import("../colours.js").Colour} Colour */
/** @typedef {import("../stages.js").StageName} StageName */

/**
 * @typedef {Object} Panel a matrix of tokens × tokens
 * @property {string} name
 * @property {string[]} names of rows and columns
 * @property {ArrayLike<number>} values
 * @property {(value: number) => Colour} colourOf
 * @property {(value: number) => string} [textOf] what is written into a cell
 */

/**
 * @typedef {Object} Picture
 * @property {string} file name without its ending
 * @property {string} title
 * @property {[string, string][]} facts
 * @property {Panel[]} panels
 * @property {number} columns panels side by side
 * @property {import("../scales.js").Scale[]} scales what the panels' colours mean
 */

/** What a step of the walk shows as a matrix; the other steps have none. @type {Record<number, StageName>} */
const STEP_STAGES = { 4: "scores", 5: "scaled", 6: "weights", 7: "weights" };

/**
 * @param {App} app
 * @returns {Picture | null} null where there is nothing to save
 */
export function pictureOf(app) {
  if (app.state.tab === "text") return textPicture(app);
  const { run } = app.reading;
  const { tab, layer, head, step } = app.state;
  if (run === null || tab === "about" || (tab === "walk" && !(step in STEP_STAGES))) return null;
  const panels = tab === "heads" ? headPanels(app, run) : tab === "compare" ? comparePanels(app) : [stagePanel(app, run, stageOf(app))];
  if (panels.length === 0) return null;
  return {
    file: `clearhead-${tab}${tab === "walk" ? `-step-${step + 1}` : ""}-${layer + 1}${headName(head)}`,
    title: STRINGS.export.title(STRINGS.tabs[tab]),
    facts: factsOf(app, run),
    panels,
    columns: tab === "heads" ? app.config.numHeads : panels.length,
    scales: scalesOf(app, run),
  };
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
    ],
    panels: [
      {
        name: captionOf(app),
        names: words,
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
 */
function scalesOf(app, run) {
  const { tab } = app.state;
  if (tab !== "heads" && tab !== "compare" && stageOf(app) !== "weights") {
    const domain = scoreDomain(chosenHead(app, run));
    return [signedScale(domain, STRINGS.matrix.domain(domain))];
  }
  const weights = weightScale(app.state.scale, 1 / app.config.tokens, largestShown(app, run));
  return tab === "compare" ? [weights, signedScale(100, STRINGS.compare.domain)] : [weights];
}

/** @param {App} app @returns {StageName} */
function stageOf({ state }) {
  return state.tab === "walk" ? STEP_STAGES[state.step] : state.stage;
}

/**
 * @param {App} app
 * @param {import("../model.js").Run} run
 * @returns {[string, string][]}
 */
function factsOf(app, run) {
  const { state, config } = app;
  const changes = changesOf(app);
  const stage = state.tab === "heads" || state.tab === "compare" ? "weights" : stageOf(app);
  const domain = scoreDomain(chosenHead(app, run));
  const scale = stage === "weights" ? STRINGS.pick.scales[state.scale] : STRINGS.matrix.domain(domain);
  const even = STRINGS.matrix.even(1 / config.tokens);
  return [
    [STRINGS.export.reads, answerWords(app.reading, config.answers)],
    [STRINGS.pick.layer, state.tab === "heads" ? `1–${config.depth}` : String(state.layer + 1)],
    [STRINGS.pick.head, state.tab === "heads" ? `A–${headName(config.numHeads - 1)}` : headName(state.head)],
    [STRINGS.pick.stage, STRINGS.pick.stages[stage]],
    [STRINGS.export.scale, stage === "weights" ? `${scale}, ${even}${stretchedNote(app, run)}` : scale],
    [STRINGS.export.asker, tokenName(app, state.asker)],
    [STRINGS.export.switches, changes.length ? changes.join(", ") : STRINGS.export.trained],
  ];
}

/**
 * @param {App} app
 * @param {import("../model.js").Run} run
 */
function stretchedNote(app, run) {
  if (app.state.scale !== "stretched") return "";
  return `, ${STRINGS.matrix.stretched(largestShown(app, run))}`;
}

/**
 * @param {App} app
 * @param {import("../model.js").Run} run
 */
function largestShown(app, run) {
  const facts = app.state.tab === "compare" ? compareFacts(app) : null;
  const maps = facts
    ? [facts.first, facts.second]
    : app.state.tab === "heads"
      ? run.layers.flatMap(({ heads }) => heads.map(({ weights }) => weights))
      : [chosenHead(app, run).weights];
  return Math.max(...maps.map((values) => values.reduce((most, value) => Math.max(most, value), 0)));
}

/**
 * @param {App} app
 * @param {import("../model.js").Run} run
 * @param {StageName} stage
 * @returns {Panel}
 */
function stagePanel(app, run, stage) {
  const { state } = app;
  const domain = scoreDomain(chosenHead(app, run));
  return {
    name: STRINGS.matrix.label(STRINGS.pick.stages[stage], state.layer, state.head),
    names: names(app),
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
function headPanels(app, run) {
  const colourOf = colourOfWeight(app, run);
  return run.layers.flatMap(({ heads }, layer) =>
    heads.map(({ weights }, head) => ({
      name: STRINGS.heads.name(layer, head),
      names: names(app),
      values: weights,
      colourOf,
    })),
  );
}

/** @param {App} app @returns {Panel[]} */
function comparePanels(app) {
  const facts = compareFacts(app);
  const { run } = app.reading;
  if (facts === null || run === null) return [];
  const shown = { names: names(app), colourOf: colourOfWeight(app, run), textOf: textOfWeight(app) };
  const [first, second] = facts.answers;
  return [
    { ...shown, name: `${STRINGS.compare.first}: ${first}`, values: facts.first },
    { ...shown, name: `${STRINGS.compare.second}: ${second}`, values: facts.second },
    {
      name: `${STRINGS.compare.difference}, ${STRINGS.compare.domain}`,
      names: names(app),
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

/** @param {App} app */
function names(app) {
  return Array.from({ length: app.config.tokens }, (_, token) => tokenShort(app, token));
}

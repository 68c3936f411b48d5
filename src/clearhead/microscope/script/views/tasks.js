// The condition under which the task of each step is done.

import { argmax } from "../arithmetic.js";
import { TEMPERATURES, isUnscaled } from "../state.js";
import { STRINGS } from "../strings.js";
import { predictedClass, chosenHead, patchOf, rowOf } from "./tokens.js";

/** @typedef {import("../store.js").App} App */
/** @typedef {import("../state.js").State} State */

const SCALED = 5; // the step, from 0, whose task is done in the next step
const HIGH = [0.95, 0.99, 0.999]; // the goal is the first of these that the row had not exceeded
const LOW = 0.5; // the goal for a row that had exceeded them all
const { steps, lowered, raised } = STRINGS.walk;

/**
 * One condition per step, given the state in which the step was opened.
 * @type {((app: App, start: State) => boolean)[]}
 */
export const tasks = [
  ({ state, result, drawing }, start) =>
    !drawing && result.run !== null && state.strokes !== start.strokes,
  (app, start) => {
    const patch = patchOf(app, app.state.queryToken);
    return app.state.queryToken !== start.queryToken && patch !== null && !app.result.blank[patch];
  },
  ({ state, actions }) => actions.positions === false && !state.positions,
  ({ state }, start) => state.head !== start.head,
  (app, start) => {
    const { run } = app.result;
    const { queryToken, keyToken } = app.state;
    if (run === null || queryToken === start.queryToken || !app.actions.keyToken) return false;
    return argmax(rowOf(app, chosenHead(app, run).scores, queryToken)) === keyToken;
  },
  ({ state, config, actions }) =>
    state.step === SCALED + 1 && actions.scaling === false && isUnscaled(state, config),
  (app, start) => {
    const goal = goalOf(app, start);
    const now = largestWeight(app, app.state);
    if (goal === null || now === null) return false;
    const { temperature } = app.state;
    return goal.lower
      ? temperature < start.temperature && now > goal.share
      : temperature > start.temperature && now < goal.share;
  },
  (app, start) =>
    app.state.masked.some((token) => !start.masked.includes(token) && hasLargestWeight(app, token)),
  ({ state, config }, start) => {
    const shown = state.layer * config.numHeads + state.head;
    return state.removed.includes(shown) && !start.removed.includes(shown);
  },
  ({ result, actions }) => {
    const { run, lens } = result;
    return run !== null && lens.findIndex((row) => argmax(row) === predictedClass(run)) === actions.lens;
  },
];

/**
 * The task of a step; the goal for the temperature depends on the row, so that it is never met at first.
 * @param {App} app
 * @param {State} start
 */
export function taskWords(app, start) {
  const { task } = steps[app.state.step];
  if (task) return task;
  const goal = goalOf(app, start) ?? { lower: true, share: HIGH[0] };
  return goal.lower ? lowered(goal.share) : raised(goal.share);
}

/**
 * The goal for the largest weight of the query token's row, from its value at the first temperature.
 * @param {App} app
 * @param {State} start
 */
function goalOf(app, start) {
  const before = largestWeight(app, { ...app.state, temperature: start.temperature });
  if (before === null) return null;
  const share = HIGH.find((high) => before <= high);
  const lower = share !== undefined && start.temperature > TEMPERATURES.min;
  return lower ? { lower, share } : { lower: false, share: LOW };
}

/** @param {App} app @param {State} state */
function largestWeight(app, state) {
  const { run } = app.compute(state, state.strokes);
  return run && Math.max(...rowOf(app, chosenHead(app, run).weights, state.queryToken));
}

/** Whether a masked token would have the largest weight if it were not masked. @param {App} app @param {number} token */
function hasLargestWeight(app, token) {
  const masked = app.state.masked.filter((one) => one !== token);
  const { run } = app.compute({ ...app.state, masked }, app.state.strokes);
  return run !== null && argmax(rowOf(app, chosenHead(app, run).weights, app.state.queryToken)) === token;
}

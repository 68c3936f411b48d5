// When the "try this" of each step counts as done: by the act it asks for, and by no other.

import { argmax } from "../arithmetic.js";
import { TEMPERATURES, isUnscaled } from "../state.js";
import { STRINGS } from "../strings.js";
import { answerOf, chosenHead, patchOf, rowOf } from "./tokens.js";

/** @typedef {import("../store.js").App} App */
/** @typedef {import("../state.js").State} State */

const SCALED = 5; // the step, from 0, whose attempt ends in the next
const HIGH = [0.95, 0.99, 0.999]; // a row must pass the first that it had not passed before
const LOW = 0.5; // where it had passed all, it must come down to this
const { steps, lowered, raised } = STRINGS.walk;

/**
 * One test for each step, given the state at the moment when the step was opened.
 * @type {((app: App, start: State) => boolean)[]}
 */
export const attempts = [
  ({ state, reading, drawing }, start) =>
    !drawing && reading.run !== null && state.strokes !== start.strokes,
  (app, start) => {
    const patch = patchOf(app, app.state.asker);
    return app.state.asker !== start.asker && patch !== null && !app.reading.blank[patch];
  },
  ({ state, acts }) => acts.positions === false && !state.positions,
  ({ state }, start) => state.head !== start.head,
  (app, start) => {
    const { run } = app.reading;
    const { asker, answerer } = app.state;
    if (run === null || asker === start.asker || !app.acts.answerer) return false;
    return argmax(rowOf(app, chosenHead(app, run).scores, asker)) === answerer;
  },
  ({ state, config, acts }) =>
    state.step === SCALED + 1 && acts.scaling === false && isUnscaled(state, config),
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
    app.state.silenced.some((token) => !start.silenced.includes(token) && answeredMost(app, token)),
  ({ state, config }, start) => {
    const shown = state.layer * config.numHeads + state.head;
    return state.removed.includes(shown) && !start.removed.includes(shown);
  },
  ({ reading, acts }) => {
    const { run, lens } = reading;
    return run !== null && lens.findIndex((row) => argmax(row) === answerOf(run)) === acts.lens;
  },
];

/**
 * What a step asks for; that of the temperature depends on the row, so that it always takes an act.
 * @param {App} app
 * @param {State} start
 */
export function attemptWords(app, start) {
  const { attempt } = steps[app.state.step];
  if (attempt) return attempt;
  const goal = goalOf(app, start) ?? { lower: true, share: HIGH[0] };
  return goal.lower ? lowered(goal.share) : raised(goal.share);
}

/**
 * Where the largest weight of the asker's row must go, seen from the temperature of the start.
 * @param {App} app
 * @param {State} start
 */
function goalOf(app, start) {
  const before = largestWeight(app, { ...app.state, temperature: start.temperature });
  if (before === null) return null;
  const share = HIGH.find((high) => before <= high);
  const lower = share !== undefined && start.temperature > TEMPERATURES.least;
  return lower ? { lower, share } : { lower: false, share: LOW };
}

/** @param {App} app @param {State} state */
function largestWeight(app, state) {
  const { run } = app.read(state, state.strokes);
  return run && Math.max(...rowOf(app, chosenHead(app, run).weights, state.asker));
}

/** Whether a silenced token would answer most if it were heard. @param {App} app @param {number} token */
function answeredMost(app, token) {
  const silenced = app.state.silenced.filter((one) => one !== token);
  const { run } = app.read({ ...app.state, silenced }, app.state.strokes);
  return run !== null && argmax(rowOf(app, chosenHead(app, run).weights, app.state.asker)) === token;
}

// When the "try this" of each step counts as done.

import { argmax } from "../arithmetic.js";
import { chosenHead, answerOf, patchOf, rowOf } from "./tokens.js";

/** @typedef {import("../store.js").App} App */
/** @typedef {import("../state.js").State} State */

const HIGH = 0.9;

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
  ({ state }) => !state.positions,
  ({ state }, start) => state.head !== start.head,
  (app, start) => {
    const { run } = app.reading;
    const { asker, answerer } = app.state;
    if (run === null || asker === start.asker) return false;
    return argmax(rowOf(app, chosenHead(app, run).scores, asker)) === answerer;
  },
  ({ state }, start) => state.temperature !== 1 && state.temperature !== start.temperature,
  (app, start) => {
    const { run } = app.reading;
    if (run === null || app.state.temperature === start.temperature) return false;
    return Math.max(...rowOf(app, chosenHead(app, run).weights, app.state.asker)) > HIGH;
  },
  ({ state }, start) => state.silenced.length > start.silenced.length,
  ({ state }, start) => state.removed.length > start.removed.length,
  (app, start) => {
    const { run, lens } = app.reading;
    if (run === null || app.state.layer === start.layer) return false;
    const first = lens.findIndex((row) => argmax(row) === answerOf(run));
    return app.state.layer === Math.max(0, first - 1);
  },
];

// The store of state and results: at most one computation per frame.

import { planExamples } from "./examples.js";
import { stateFromHash, stateToHash } from "./hash.js";
import { whenIdle } from "./idle.js";
import { planInfluence } from "./influence.js";
import { cachedCompute } from "./result.js";
import { firstState, switchesOf } from "./state.js";

/** @typedef {import("./state.js").State} State */
/** @typedef {import("./result.js").Result} Result */
/** @typedef {"prediction" | "place" | "note"} Kind of message */

/**
 * @typedef {Object} Actions of the user in the open step of the walk that the state does not show, such as
 *   choosing what was chosen already
 * @property {number} [lens] the layer chosen in the lens
 * @property {boolean} [keyToken] whether an entry of the matrix was chosen
 * @property {boolean} [positions] the setting they were switched to
 * @property {boolean} [scaling] the setting it was switched to
 */
/** @typedef {import("./model.js").Model} Model */

/**
 * @typedef {Object} App the argument of every view
 * @property {Model} model
 * @property {import("./text.js").TextModel} textModel
 * @property {import("./config.js").Config} config
 * @property {import("./payload.js").Payload} payload
 * @property {State} state
 * @property {State} first the state without # in the address
 * @property {Result} result
 * @property {(state: State, strokes: import("./strokes.js").Stroke[]) => Result} compute the result for another state
 * @property {import("./influence.js").Influence | null} influence null while a stroke is drawn
 * @property {import("./examples.js").Examples} examples
 * @property {boolean} drawing whether a stroke is being drawn
 * @property {boolean} inkOnly whether this frame shows only new ink
 * @property {boolean} settled whether nothing is left to compute
 * @property {(changes: Partial<State>) => void} set
 * @property {(drawing: boolean) => void} setDrawing
 * @property {(message: string, kind?: Kind) => void} announce in the live region
 * @property {Actions} actions
 * @property {number} resets number of times that a link or Reset replaced the state
 * @property {() => void} startOver called before a link or Reset replaces the state
 * @property {number} scaledTemperature the temperature before ÷√d was switched off
 * @property {() => string} link
 */

// On slow devices the pen has priority: while a stroke is drawn, most frames show only the new ink.
// Full frames take at most a twentieth of the time.
const SLOW = 30; // milliseconds for a full frame
const APART = 20; // pause until the next full frame, as a multiple of its time
const LOOK = 330; // milliseconds until a full frame if the pen rests

/** @param {string} link */
function writeAddress(link) {
  if (link === location.href) return;
  try {
    history.replaceState(null, "", link);
  } catch {
    // Some browsers limit the rate of these calls; the next change tries again.
  }
}

/**
 * @param {Model} model
 * @param {import("./text.js").TextModel} textModel
 * @param {import("./payload.js").Payload} payload
 * @param {(app: App) => void} show
 * @returns {App}
 */
export function createStore(model, textModel, payload, show) {
  const { config } = model;
  const first = firstState(config, payload.examples);
  const { examples, pieces } = planExamples(model, textModel, payload);
  const compute = cachedCompute(model);
  const state = stateFromHash(location.hash, first, config);
  const pace = { work: 0, end: 0, waking: false };
  let waiting = false;
  let stop = () => {};

  /** @type {App} */
  const app = {
    model,
    textModel,
    config,
    payload,
    first,
    state,
    result: compute(state, state.strokes),
    compute,
    influence: null,
    examples,
    drawing: false,
    inkOnly: false,
    settled: false,
    set: (changes) => change({ ...app.state, ...changes }),
    setDrawing: (drawing) => {
      app.drawing = drawing;
      frame();
    },
    announce: () => {},
    actions: {},
    resets: 0,
    startOver: () => {
      app.resets++;
      app.scaledTemperature = 1;
    },
    scaledTemperature: 1,
    link: () => `${location.href.split("#")[0]}#${stateToHash(app.state, first, config)}`,
  };
  // The address may have been replaced since; the event has the requested one.
  addEventListener("hashchange", ({ newURL }) => {
    app.startOver();
    change(stateFromHash(new URL(newURL).hash, first, config));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", frame); // to redraw ink in the other colour
  whenIdle(pieces, (done) => done && frame());
  frame();
  return app;

  /** @param {State} next */
  function change(next) {
    app.state = next;
    frame();
  }

  function frame() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      const start = performance.now();
      app.inkOnly = app.drawing && pace.work > SLOW && start - pace.end < APART * pace.work;
      if (app.inkOnly) {
        show(app);
        showLater();
        return;
      }
      const result = compute(app.state, app.state.strokes);
      if (result !== app.result || app.drawing) {
        stop();
        Object.assign(app, { result, influence: null, settled: false });
      }
      if (!app.drawing && app.influence === null) startInfluence();
      show(app);
      pace.end = performance.now();
      pace.work = pace.end - start;
      if (!app.drawing) writeAddress(app.link());
    });
  }

  /** Shows a full frame if the pen rests. */
  function showLater() {
    if (pace.waking) return;
    pace.waking = true;
    setTimeout(() => {
      pace.waking = false;
      frame();
    }, LOOK);
  }

  function startInfluence() {
    const { run } = app.result;
    app.settled = run === null;
    if (run === null) return;
    const plan = planInfluence(model, run, switchesOf(app.state, config));
    app.influence = plan.influence;
    stop = whenIdle(plan.pieces, (done) => {
      if (!done) return;
      app.settled = true;
      frame();
    });
  }
}

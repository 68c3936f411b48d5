// One place for state and results: changes come in, at most one computation a frame goes out.

import { planExamples } from "./examples.js";
import { stateFromHash, stateToHash } from "./hash.js";
import { whenIdle } from "./idle.js";
import { planInfluence } from "./influence.js";
import { rememberingReader } from "./reading.js";
import { firstState, switchesOf } from "./state.js";

/** @typedef {import("./state.js").State} State */
/** @typedef {import("./reading.js").Reading} Reading */
/** @typedef {"answer" | "place" | "note"} Kind of message */

/**
 * @typedef {Object} Acts what was done by hand in the step of the walk that is open, where the state
 *   does not show it: a choice of what was chosen already, a switch that was as it is
 * @property {number} [lens] the layer chosen in the lens
 * @property {boolean} [answerer] whether a cell of the matrix was chosen
 * @property {boolean} [positions] to what they were switched
 * @property {boolean} [scaling] to what it was switched
 */
/** @typedef {import("./model.js").Model} Model */

/**
 * @typedef {Object} App what every view is given
 * @property {Model} model
 * @property {import("./text.js").TextModel} textModel
 * @property {import("./config.js").Config} config
 * @property {import("./payload.js").Payload} payload
 * @property {State} state
 * @property {State} first the state that a page without # starts with
 * @property {Reading} reading
 * @property {(state: State, strokes: import("./strokes.js").Stroke[]) => Reading} read any other
 * @property {import("./influence.js").Influence | null} influence null until the pen is up
 * @property {import("./examples.js").Examples} examples
 * @property {boolean} drawing whether a stroke is being drawn now
 * @property {boolean} late whether there is time for the ink alone, in this frame
 * @property {boolean} settled whether nothing is left to compute
 * @property {(changes: Partial<State>) => void} set
 * @property {(drawing: boolean) => void} setDrawing
 * @property {(message: string, kind?: Kind) => void} say to the live region
 * @property {Acts} acts
 * @property {number} links how often everything was set anew, by a link or by Reset
 * @property {() => void} anew everything is about to be
 * @property {number} besides the temperature to which ÷√d returns when it is switched on again
 * @property {() => string} link
 */

// Where reading takes so long that it would be felt, the pen goes first: while it draws, most
// frames show the new ink alone, and so few everything that those are one in twenty at most.
const SLOW = 30; // milliseconds of work in a frame
const APART = 20; // times the work of such a frame, until the next
const LOOK = 330; // milliseconds after which it is seen whether that is over

/** @param {string} link */
function writeAddress(link) {
  if (link === location.href) return;
  try {
    history.replaceState(null, "", link);
  } catch {
    // Some browsers refuse this when it comes too often; the next change tries again.
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
  const read = rememberingReader(model);
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
    reading: read(state, state.strokes),
    read,
    influence: null,
    examples,
    drawing: false,
    late: false,
    settled: false,
    set: (changes) => change({ ...app.state, ...changes }),
    setDrawing: (drawing) => {
      app.drawing = drawing;
      frame();
    },
    say: () => {},
    acts: {},
    links: 0,
    anew: () => {
      app.links++;
      app.besides = 1;
    },
    besides: 1,
    link: () => `${location.href.split("#")[0]}#${stateToHash(app.state, first, config)}`,
  };
  // The address may have been written over since: the event knows where it went.
  addEventListener("hashchange", ({ newURL }) => {
    app.anew();
    change(stateFromHash(new URL(newURL).hash, first, config));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", frame); // ink is drawn anew
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
      app.late = app.drawing && pace.work > SLOW && start - pace.end < APART * pace.work;
      if (app.late) {
        show(app);
        wakeLater();
        return;
      }
      const reading = read(app.state, app.state.strokes);
      if (reading !== app.reading || app.drawing) {
        stop();
        Object.assign(app, { reading, influence: null, settled: false });
      }
      if (!app.drawing && app.influence === null) startInfluence();
      show(app);
      pace.end = performance.now();
      pace.work = pace.end - start;
      if (!app.drawing) writeAddress(app.link());
    });
  }

  /** The pen may rest: what was left out is shown all the same. */
  function wakeLater() {
    if (pace.waking) return;
    pace.waking = true;
    setTimeout(() => {
      pace.waking = false;
      frame();
    }, LOOK);
  }

  function startInfluence() {
    const { run } = app.reading;
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

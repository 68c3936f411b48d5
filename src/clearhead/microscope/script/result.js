// From a drawing to the forward pass: the numbers that the page shows.

import { lens, forward } from "./model.js";
import { noisy, shuffledOrder } from "./experiments.js";
import { blankPatches, reorderPatches } from "./patches.js";
import { normalize } from "./pixels.js";
import { rasterise } from "./raster.js";
import { areSideBySide, isTooSmall } from "./strokes.js";
import { switchesOf } from "./state.js";

/** @typedef {import("./model.js").Model} Model */
/** @typedef {import("./model.js").Run} Run */
/** @typedef {import("./state.js").State} State */
/** @typedef {import("./strokes.js").Stroke} Stroke */

/**
 * @typedef {Object} Result
 * @property {"empty" | "small" | "computed"} status
 * @property {Float64Array} ink the model input, 0 to 1, with noise and shuffling
 * @property {boolean[]} blank which patches are blank
 * @property {Run | null} run null without a drawing
 * @property {number[][]} lens probabilities after layer 0, 1, …
 * @property {boolean} several whether there seem to be several digits
 */

/**
 * @param {Model} model
 * @param {State} state
 * @param {Stroke[]} strokes
 * @returns {Result}
 */
export function compute(model, state, strokes) {
  const { config } = model;
  const ink = inkOf(model, state, strokes);
  const blank = blankPatches(ink, config);
  if (strokes.length === 0 || isTooSmall(strokes)) {
    return { status: strokes.length ? "small" : "empty", ink, blank, run: null, lens: [], several: false };
  }
  const run = forward(model, normalize(ink, config), switchesOf(state, config));
  return { status: "computed", ink, blank, run, lens: lens(model, run), several: areSideBySide(strokes) };
}

/**
 * The ink of the model input.
 * @param {Model} model
 * @param {State} state
 * @param {Stroke[]} strokes
 */
export function inkOf({ config }, state, strokes) {
  const ink = rasterise(strokes, config.imageShape, state.centred);
  const speckled = noisy(ink, config, state.noisyPatches, state.noise);
  if (state.seed === 0) return speckled;
  return reorderPatches(speckled, config, shuffledOrder(config.patches, state.seed));
}

const KEPT = 6; // results, of 0.4 MB each

/**
 * `compute` with a small cache: several views need the same results.
 * @param {Model} model
 * @returns {(state: State, strokes: Stroke[]) => Result}
 */
export function cachedCompute(model) {
  /** @type {{parts: any[], result: Result}[]} */
  let remembered = [];
  return (state, strokes) => {
    const parts = partsThatCount(state, strokes);
    const known = remembered.find((one) => one.parts.every((part, i) => part === parts[i]));
    const found = known ?? { parts, result: compute(model, state, strokes) };
    remembered = [found, ...remembered.filter((one) => one !== found)].slice(0, KEPT);
    return found.result;
  };
}

/**
 * The cache's key: all that a result depends on.
 * @param {State} state
 * @param {Stroke[]} strokes
 */
function partsThatCount(state, strokes) {
  const { centred, temperature, positions, seed, noise } = state;
  const lists = [state.removed, state.masked, state.noisyPatches].map(String);
  const local = state.values !== "trained" || (state.masked.length > 0 && state.scope !== "model");
  const place = local ? [state.layer, state.head, state.values, state.scope] : ["", "", "", ""];
  return [strokes, centred, temperature, positions, seed, noise, ...lists, ...place];
}

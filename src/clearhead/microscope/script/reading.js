// From a drawing to everything the model computes: what the page shows.

import { lens, forward } from "./model.js";
import { noisy, shuffledOrder } from "./experiments.js";
import { blankPatches, reorderPatches } from "./patches.js";
import { normalize } from "./pixels.js";
import { rasterise } from "./raster.js";
import { isTooSmall } from "./strokes.js";
import { switchesOf } from "./state.js";

/** @typedef {import("./model.js").Model} Model */
/** @typedef {import("./model.js").Run} Run */
/** @typedef {import("./state.js").State} State */
/** @typedef {import("./strokes.js").Stroke} Stroke */

/**
 * @typedef {Object} Reading
 * @property {"empty" | "small" | "read"} status
 * @property {Float64Array} ink what the model sees, 0 to 1, noise and order included
 * @property {boolean[]} blank which patches hold no ink
 * @property {Run | null} run null if there is nothing to read
 * @property {number[][]} lens probabilities after layer 0, 1, …
 */

/**
 * @param {Model} model
 * @param {State} state
 * @param {Stroke[]} strokes
 * @returns {Reading}
 */
export function read(model, state, strokes) {
  const { config } = model;
  const ink = seen(model, state, strokes);
  const blank = blankPatches(ink, config);
  if (strokes.length === 0 || isTooSmall(strokes)) {
    return { status: strokes.length ? "small" : "empty", ink, blank, run: null, lens: [] };
  }
  const run = forward(model, normalize(ink, config), switchesOf(state, config));
  return { status: "read", ink, blank, run, lens: lens(model, run) };
}

/**
 * The ink that reaches the model.
 * @param {Model} model
 * @param {State} state
 * @param {Stroke[]} strokes
 */
export function seen({ config }, state, strokes) {
  const ink = rasterise(strokes, config.imageShape, state.centred);
  const speckled = noisy(ink, config, state.noisyPatches, state.noise);
  if (state.seed === 0) return speckled;
  return reorderPatches(speckled, config, shuffledOrder(config.patches, state.seed));
}

const KEPT = 6; // readings, of 0.4 MB each

/**
 * `read` with a short memory: views may ask for the same reading again at no cost.
 * @param {Model} model
 * @returns {(state: State, strokes: Stroke[]) => Reading}
 */
export function rememberingReader(model) {
  /** @type {{parts: any[], reading: Reading}[]} */
  let remembered = [];
  return (state, strokes) => {
    const parts = partsThatCount(state, strokes);
    const known = remembered.find((one) => one.parts.every((part, i) => part === parts[i]));
    const found = known ?? { parts, reading: read(model, state, strokes) };
    remembered = [found, ...remembered.filter((one) => one !== found)].slice(0, KEPT);
    return found.reading;
  };
}

/**
 * Everything that a reading depends on.
 * @param {State} state
 * @param {Stroke[]} strokes
 */
function partsThatCount(state, strokes) {
  const { centred, temperature, positions, seed, noise } = state;
  const lists = [state.removed, state.silenced, state.noisyPatches].map(String);
  const local = state.values !== "trained" || (state.silenced.length > 0 && state.scope !== "model");
  const place = local ? [state.layer, state.head, state.values, state.scope] : ["", "", "", ""];
  return [strokes, centred, temperature, positions, seed, noise, ...lists, ...place];
}

// The state: the user's choices, which determine the whole page.

import { unscaledTemperature } from "./experiments.js";

/** @typedef {import("./config.js").Config} Config */
/** @typedef {import("./experiments.js").Switches} Switches */
/** @typedef {import("./strokes.js").Stroke} Stroke */
/** @typedef {"walk" | "explore" | "heads" | "compare" | "text" | "about"} Tab */
/** @typedef {"attended" | "importance" | "experiments"} Focus */
/** @typedef {"auto" | "light" | "dark"} Theme */

export const TABS = /** @type {const} */ (["walk", "explore", "heads", "compare", "text", "about"]);
export const FOCUSES = /** @type {const} */ (["attended", "importance", "experiments"]);
export const SCALE_MODES = /** @type {const} */ (["fixed", "even", "stretched"]);
export const SCOPES = /** @type {const} */ (["head", "layer", "model"]);
export const VALUE_MODES = /** @type {const} */ (["trained", "zero", "reversed"]);
export const THEMES = /** @type {const} */ (["auto", "light", "dark"]);
export const STEPS = 10;
export const MEAN = -1; // instead of a head: the mean of all heads
export const MAX_LENGTH = 200; // characters of a sentence
export const TEMPERATURES = { min: 0.1, max: 4 };

/**
 * @typedef {Object} State
 * @property {Tab} tab
 * @property {number} step of the walk, from 0
 * @property {Focus} focus
 * @property {number} layer from 0
 * @property {number} head from 0
 * @property {number} queryToken a token
 * @property {number} keyToken a token
 * @property {import("./stages.js").StageName} stage
 * @property {import("./colours.js").ScaleMode} scale
 * @property {boolean} attendedBy show which tokens attend to the token, not which it attends to
 * @property {Stroke[]} strokes
 * @property {Stroke[]} second the other digit of a comparison
 * @property {boolean} centred
 * @property {number} temperature
 * @property {boolean} positions
 * @property {number} seed of the shuffled order of patches; 0 is unshuffled
 * @property {number[]} removed heads, layer by layer
 * @property {typeof VALUE_MODES[number]} values of the chosen layer
 * @property {number[]} masked tokens
 * @property {typeof SCOPES[number]} scope of masking
 * @property {number[]} noisyPatches
 * @property {number} noise deviation
 * @property {string} sentence input of the text model
 * @property {number} word query word, from 0
 * @property {number} textLayer from 0
 * @property {number} textHead from 0; -1 is the mean of all heads
 * @property {Theme} theme
 */

/**
 * @param {Config} config
 * @param {{strokes: Stroke[]}[]} examples
 * @returns {State}
 */
export function firstState(config, examples) {
  const queryToken = config.numPrefixTokens + Math.floor((config.patches * 2) / 3);
  return {
    tab: "walk",
    step: 0,
    focus: "attended",
    layer: Math.min(2, config.depth - 1),
    head: 0,
    queryToken,
    keyToken: Math.min(config.tokens - 1, queryToken + config.grid[1]),
    stage: "weights",
    scale: "fixed",
    attendedBy: false,
    strokes: examples[14]?.strokes ?? [],
    second: examples[2]?.strokes ?? [],
    centred: true,
    sentence: "The dog chased the ball because it was hungry.",
    word: 6,
    textLayer: 1,
    textHead: MEAN,
    theme: "auto",
    ...trainedState(),
  };
}

/** The trained model: every experiment off. */
export function trainedState() {
  return {
    temperature: 1,
    positions: true,
    seed: 0,
    removed: /** @type {number[]} */ ([]),
    values: /** @type {State["values"]} */ ("trained"),
    masked: /** @type {number[]} */ ([]),
    scope: /** @type {State["scope"]} */ ("model"),
    noisyPatches: /** @type {number[]} */ ([]),
    noise: 0.5,
  };
}

/**
 * @param {State} state
 * @param {Config} config
 * @returns {Switches}
 */
export function switchesOf(state, config) {
  return {
    temperature: state.temperature,
    positions: state.positions,
    removed: state.removed,
    headsPerLayer: config.numHeads,
    values: { layer: state.layer, mode: state.values },
    mask: {
      tokens: state.masked,
      layer: state.scope === "model" ? null : state.layer,
      head: state.scope === "head" ? state.head : null,
    },
  };
}

/**
 * Whether scaling is off: the temperature cancels √d_k.
 * @param {State} state
 * @param {Config} config
 */
export function isUnscaled(state, config) {
  return config.attentionScale === "sqrt" && state.temperature === unscaledTemperature(config);
}

/**
 * The list without the item if it has it, else with it.
 * @template T
 * @param {T[]} list
 * @param {T} item
 */
export function toggled(list, item) {
  return list.includes(item) ? list.filter((one) => one !== item) : [...list, item];
}

// What the person has chosen; everything on the screen follows from it.

import { unscaledTemperature } from "./experiments.js";

/** @typedef {import("./config.js").Config} Config */
/** @typedef {import("./experiments.js").Switches} Switches */
/** @typedef {import("./strokes.js").Stroke} Stroke */
/** @typedef {"walk" | "explore" | "heads" | "compare" | "text" | "about"} Tab */
/** @typedef {"answered" | "mattered" | "experiments"} Focus */
/** @typedef {"auto" | "light" | "dark"} Theme */

export const TABS = /** @type {const} */ (["walk", "explore", "heads", "compare", "text", "about"]);
export const FOCUSES = /** @type {const} */ (["answered", "mattered", "experiments"]);
export const SCALE_MODES = /** @type {const} */ (["fixed", "even", "stretched"]);
export const SCOPES = /** @type {const} */ (["head", "layer", "model"]);
export const VALUE_MODES = /** @type {const} */ (["trained", "zero", "reversed"]);
export const THEMES = /** @type {const} */ (["auto", "light", "dark"]);
export const STEPS = 10;
export const MEAN = -1; // in place of a head: the mean of all
export const LONGEST = 200; // characters of a sentence
export const TEMPERATURES = { least: 0.1, most: 4 };

/**
 * @typedef {Object} State
 * @property {Tab} tab
 * @property {number} step of the walk, from 0
 * @property {Focus} focus
 * @property {number} layer from 0
 * @property {number} head from 0
 * @property {number} asker a token
 * @property {number} answerer a token
 * @property {import("./stages.js").StageName} stage
 * @property {import("./colours.js").ScaleMode} scale
 * @property {boolean} listeners asked or answered: the column instead of the row
 * @property {Stroke[]} strokes
 * @property {Stroke[]} second the other digit of a comparison
 * @property {boolean} centred
 * @property {number} temperature
 * @property {boolean} positions
 * @property {number} seed of the patches' order; 0 leaves them in place
 * @property {number[]} removed heads, layer by layer
 * @property {typeof VALUE_MODES[number]} values of the chosen layer
 * @property {number[]} silenced tokens
 * @property {typeof SCOPES[number]} scope of the silence
 * @property {number[]} noisyPatches
 * @property {number} noise deviation
 * @property {string} sentence what the text model reads
 * @property {number} word of the sentence that asks, from 0
 * @property {number} textLayer from 0
 * @property {number} textHead from 0; -1 is the mean of all
 * @property {Theme} theme
 */

/**
 * @param {Config} config
 * @param {{strokes: Stroke[]}[]} examples
 * @returns {State}
 */
export function firstState(config, examples) {
  const asker = config.numPrefixTokens + Math.floor((config.patches * 2) / 3);
  return {
    tab: "walk",
    step: 0,
    focus: "answered",
    layer: Math.min(2, config.depth - 1),
    head: 0,
    asker,
    answerer: Math.min(config.tokens - 1, asker + config.grid[1]),
    stage: "weights",
    scale: "fixed",
    listeners: false,
    strokes: examples[14]?.strokes ?? [],
    second: examples[2]?.strokes ?? [],
    centred: true,
    sentence: "The dog chased the ball because it was hungry.",
    word: 6,
    textLayer: 1,
    textHead: MEAN,
    theme: "auto",
    ...untouched(),
  };
}

/** The trained model: every experiment off. */
export function untouched() {
  return {
    temperature: 1,
    positions: true,
    seed: 0,
    removed: /** @type {number[]} */ ([]),
    values: /** @type {State["values"]} */ ("trained"),
    silenced: /** @type {number[]} */ ([]),
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
    silence: {
      tokens: state.silenced,
      layer: state.scope === "model" ? null : state.layer,
      head: state.scope === "head" ? state.head : null,
    },
  };
}

/**
 * Whether √d_k is taken away: the temperature at which the factor on the scores is 1.
 * @param {State} state
 * @param {Config} config
 */
export function isUnscaled(state, config) {
  return config.attentionScale === "sqrt" && state.temperature === unscaledTemperature(config);
}

/**
 * The list with the item taken out, or put in.
 * @template T
 * @param {T[]} list
 * @param {T} item
 */
export function toggled(list, item) {
  return list.includes(item) ? list.filter((one) => one !== item) : [...list, item];
}

// The whole state, drawings included, as the part of the address after #: a link shows the same.

import { strokesFromText, strokesToText } from "./strokes.js";
import {
  FOCUSES,
  LONGEST,
  SCALE_MODES,
  SCOPES,
  STEPS,
  TABS,
  TEMPERATURES,
  THEMES,
  VALUE_MODES,
} from "./state.js";
import { STAGES } from "./stages.js";

/** @typedef {import("./state.js").State} State */
/** @typedef {import("./config.js").Config} Config */

/** @typedef {{write: (value: any) => string, read: (text: string) => any}} Field read gives null for what it does not know */

/**
 * @param {Config} config
 * @returns {Record<keyof State, Field>}
 */
function fieldsOf(config) {
  const heads = config.depth * config.numHeads;
  return {
    tab: oneOf(TABS),
    step: whole(1, STEPS),
    focus: oneOf(FOCUSES),
    layer: whole(1, config.depth),
    head: whole(1, config.numHeads),
    asker: whole(1, config.tokens),
    answerer: whole(1, config.tokens),
    stage: oneOf(STAGES),
    scale: oneOf(SCALE_MODES),
    listeners: truth,
    strokes: { write: strokesToText, read: strokesFromText },
    second: { write: strokesToText, read: strokesFromText },
    centred: truth,
    temperature: number(TEMPERATURES.least, TEMPERATURES.most),
    positions: truth,
    seed: whole(0, 999, 0),
    removed: several(heads),
    values: oneOf(VALUE_MODES),
    silenced: several(config.tokens),
    scope: oneOf(SCOPES),
    noisyPatches: several(config.patches),
    noise: number(0, 1),
    sentence: words,
    word: whole(1, config.text.contextLength),
    textLayer: whole(1, config.text.depth),
    textHead: whole(0, config.text.numHeads),
    theme: oneOf(THEMES),
  };
}

/**
 * What differs from the first state, as text for the address.
 * @param {State} state
 * @param {State} first
 * @param {Config} config
 */
export function stateToHash(state, first, config) {
  const written = new URLSearchParams();
  for (const [name, field] of Object.entries(fieldsOf(config))) {
    const key = /** @type {keyof State} */ (name);
    const text = field.write(state[key]);
    if (text !== field.write(first[key])) written.set(name, text);
  }
  return written.toString();
}

/**
 * The state that a text tells; what it does not tell, or tells wrongly, is as at first.
 * @param {string} hash
 * @param {State} first
 * @param {Config} config
 * @returns {State}
 */
export function stateFromHash(hash, first, config) {
  const told = new URLSearchParams(hash.replace(/^#/, ""));
  const changes = Object.entries(fieldsOf(config))
    .filter(([name]) => told.has(name))
    .map(([name, field]) => [name, field.read(told.get(name) ?? "")])
    .filter(([, value]) => value !== null);
  return { ...first, ...Object.fromEntries(changes) };
}

const words = {
  /** @param {string} value */
  write: (value) => value,
  /** @param {string} text */
  read: (text) => (text.length <= LONGEST ? text : null),
};

const truth = {
  /** @param {boolean} value */
  write: (value) => (value ? "1" : "0"),
  /** @param {string} text */
  read: (text) => (text === "1" ? true : text === "0" ? false : null),
};

/**
 * @param {readonly string[]} names
 * @returns {Field}
 */
function oneOf(names) {
  return { write: (value) => value, read: (text) => (names.includes(text) ? text : null) };
}

/**
 * A whole number; people count from 1, arrays from 0.
 * @param {number} least
 * @param {number} most
 * @param {number} offset
 * @returns {Field}
 */
function whole(least, most, offset = 1) {
  return {
    write: (value) => String(value + offset),
    read: (text) => {
      const value = /^\d{1,4}$/.test(text) ? Number(text) : NaN;
      return value >= least && value <= most ? value - offset : null;
    },
  };
}

/**
 * @param {number} least
 * @param {number} most
 * @returns {Field}
 */
function number(least, most) {
  return {
    write: (value) => String(value),
    read: (text) => {
      const value = /^[\d.]+$/.test(text) ? Number(text) : NaN;
      return value >= least && value <= most ? value : null;
    },
  };
}

/**
 * Numbers from 1 to `most`, each at most once.
 * @param {number} most
 * @returns {Field}
 */
function several(most) {
  const one = whole(1, most);
  return {
    write: (values) => [...values].sort((a, b) => a - b).map(one.write).join("."),
    read: (text) => {
      const values = text === "" ? [] : text.split(".").map(one.read);
      return values.includes(null) ? null : [...new Set(values)];
    },
  };
}

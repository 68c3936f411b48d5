// The whole state, with drawings, as the part of the address after #.

import { strokesFromText, strokesToText } from "./strokes.js";
import {
  FOCUSES,
  MAX_LENGTH,
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

/** @typedef {{write: (value: any) => string, read: (text: string) => any}} Field read returns null for invalid text */

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
    queryToken: whole(1, config.tokens),
    keyToken: whole(1, config.tokens),
    stage: oneOf(STAGES),
    scale: oneOf(SCALE_MODES),
    attendedBy: truth,
    strokes: { write: strokesToText, read: strokesFromText },
    second: { write: strokesToText, read: strokesFromText },
    centred: truth,
    temperature: number(TEMPERATURES.min, TEMPERATURES.max),
    positions: truth,
    seed: whole(0, 999, 0),
    removed: several(heads),
    values: oneOf(VALUE_MODES),
    masked: several(config.tokens),
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
 * The differences from the first state, as text for the address.
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
 * The state in a text; missing and invalid parts have their first value.
 * @param {string} hash
 * @param {State} first
 * @param {Config} config
 * @returns {State}
 */
export function stateFromHash(hash, first, config) {
  const params = new URLSearchParams(hash.replace(/^#/, ""));
  const changes = Object.entries(fieldsOf(config))
    .filter(([name]) => params.has(name))
    .map(([name, field]) => [name, field.read(params.get(name) ?? "")])
    .filter(([, value]) => value !== null);
  return { ...first, ...Object.fromEntries(changes) };
}

const words = {
  /** @param {string} value */
  write: (value) => value,
  /** @param {string} text */
  read: (text) => (text.length <= MAX_LENGTH ? text : null),
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
 * An integer, counted from 1 in the address and from 0 in the state.
 * @param {number} min
 * @param {number} max
 * @param {number} offset
 * @returns {Field}
 */
function whole(min, max, offset = 1) {
  return {
    write: (value) => String(value + offset),
    read: (text) => {
      const value = /^\d{1,4}$/.test(text) ? Number(text) : NaN;
      return value >= min && value <= max ? value - offset : null;
    },
  };
}

/**
 * @param {number} min
 * @param {number} max
 * @returns {Field}
 */
function number(min, max) {
  return {
    write: (value) => String(value),
    read: (text) => {
      const value = /^[\d.]+$/.test(text) ? Number(text) : NaN;
      return value >= min && value <= max ? value : null;
    },
  };
}

/**
 * Distinct integers from 1 to `max`.
 * @param {number} max
 * @returns {Field}
 */
function several(max) {
  const one = whole(1, max);
  return {
    write: (values) => [...values].sort((a, b) => a - b).map(one.write).join("."),
    read: (text) => {
      const values = text === "" ? [] : text.split(".").map(one.read);
      return values.includes(null) ? null : [...new Set(values)];
    },
  };
}

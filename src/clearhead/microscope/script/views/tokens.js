// Names of tokens, and access to the numbers of one head or token.

import { STRINGS } from "../strings.js";

/** @typedef {import("../store.js").App} App */

/**
 * The patch of a token, from 0; null for the class token.
 * @param {App} app
 * @param {number} token
 */
export function patchOf({ config }, token) {
  return token < config.numPrefixTokens ? null : token - config.numPrefixTokens;
}

/** @param {App} app @param {number} token */
export function tokenName(app, token) {
  return STRINGS.token.name(patchOf(app, token));
}

/** @param {App} app @param {number} token */
export function tokenShort(app, token) {
  return STRINGS.token.short(patchOf(app, token));
}

/**
 * The chosen head's stages in a run.
 * @param {App} app
 * @param {import("../model.js").Run} run
 */
export function chosenHead({ state }, run) {
  return run.layers[state.layer].heads[state.head];
}

/**
 * One row of a matrix of tokens × tokens.
 * @param {App} app
 * @param {Float64Array} matrix
 * @param {number} token
 */
export function rowOf({ config }, matrix, token) {
  return matrix.subarray(token * config.tokens, (token + 1) * config.tokens);
}

/** @param {ArrayLike<number>} vector */
export function norm(vector) {
  let squares = 0;
  for (let i = 0; i < vector.length; i++) squares += vector[i] ** 2;
  return Math.sqrt(squares);
}

/**
 * The numbers of one token in a flat array of tokens × width.
 * @param {Float64Array} values
 * @param {number} token
 * @param {number} width
 */
export function vectorOf(values, token, width) {
  return values.subarray(token * width, (token + 1) * width);
}

/** The class with the largest probability. @param {import("../model.js").Run} run */
export function predictedClass(run) {
  return run.probabilities.indexOf(Math.max(...run.probabilities));
}

// Measures of a head's attention, and names by thresholds on them.

import { placeOf } from "./patches.js";

/** @typedef {import("./config.js").Config} Config */

/**
 * @typedef {Object} Measures of one head, means over the queries
 * @property {number} entropy in bits; log2(tokens) for uniform weights
 * @property {number} distance between query and key patch, in patches, weighted by attention
 * @property {number} itself share of attention on the query token itself
 * @property {number} blank share of attention on blank patches
 * @property {number} shared the largest share of all attention on one token
 */

/** @typedef {"itself" | "blank" | "shared" | "near" | "even" | "none"} Role */

/** Thresholds of the names, for means over the example drawings. */
export const THRESHOLDS = { itself: 0.5, blankAbove: 0.3, shared: 0.5, near: 1, even: 0.95 };

/**
 * @param {Float64Array} weights tokens × tokens
 * @param {Config} config
 * @param {boolean[]} blank which patches are blank
 * @returns {Measures}
 */
export function measureHead(weights, config, blank) {
  const { tokens, numPrefixTokens } = config;
  const received = new Float64Array(tokens);
  const sums = { entropy: 0, distance: 0, itself: 0, blank: 0 };
  for (let queryToken = 0; queryToken < tokens; queryToken++) {
    for (let keyToken = 0; keyToken < tokens; keyToken++) {
      const weight = weights[queryToken * tokens + keyToken];
      if (weight > 0) sums.entropy -= weight * Math.log2(weight);
      received[keyToken] += weight / tokens;
      if (keyToken === queryToken) sums.itself += weight;
      if (blank[keyToken - numPrefixTokens]) sums.blank += weight;
      sums.distance += weight * distanceBetween(queryToken, keyToken, config);
    }
  }
  return {
    entropy: sums.entropy / tokens,
    distance: sums.distance / config.patches,
    itself: sums.itself / tokens,
    blank: sums.blank / tokens,
    shared: Math.max(...received),
  };
}

/**
 * The means of several measures.
 * @param {Measures[]} list
 * @returns {Measures}
 */
export function meanMeasures(list) {
  /** @param {keyof Measures} name */
  const mean = (name) => list.reduce((sum, one) => sum + one[name], 0) / list.length;
  return {
    entropy: mean("entropy"),
    distance: mean("distance"),
    itself: mean("itself"),
    blank: mean("blank"),
    shared: mean("shared"),
  };
}

/**
 * The head's name by the thresholds above; "none" below all of them.
 * @param {Measures} measures
 * @param {Config} config
 * @param {number} blankShare mean share of patches that are blank
 * @returns {Role}
 */
export function roleOf(measures, config, blankShare) {
  if (measures.itself >= THRESHOLDS.itself) return "itself";
  if (measures.blank - blankShare >= THRESHOLDS.blankAbove) return "blank";
  if (measures.shared >= THRESHOLDS.shared) return "shared";
  if (measures.distance <= THRESHOLDS.near) return "near";
  if (measures.entropy >= THRESHOLDS.even * Math.log2(config.tokens)) return "even";
  return "none";
}

/**
 * Distance of the centres of two patches, in patches; 0 for the class token.
 * @param {number} queryToken
 * @param {number} keyToken
 * @param {Config} config
 */
function distanceBetween(queryToken, keyToken, config) {
  const [from, to] = [placeOf(queryToken, config), placeOf(keyToken, config)];
  return from && to ? Math.hypot(from[0] - to[0], from[1] - to[1]) : 0;
}

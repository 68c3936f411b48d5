// What a head does, in numbers; a name only where a number stands behind it.

import { placeOf } from "./patches.js";

/** @typedef {import("./config.js").Config} Config */

/**
 * @typedef {Object} Measures of one head, means over the askers
 * @property {number} entropy in bits; log2(tokens) is an even spread
 * @property {number} distance between patches, in patches, weighted by attention
 * @property {number} itself share of attention on the asker
 * @property {number} blank share of attention on blank patches
 * @property {number} shared the largest share of all attention that one token gets
 */

/** @typedef {"itself" | "blank" | "shared" | "near" | "even" | "none"} Role */

/** What a head must reach, on the mean of the example drawings, to be named. */
export const THRESHOLDS = { itself: 0.5, blankAbove: 0.3, shared: 0.5, near: 1, even: 0.95 };

/**
 * @param {Float64Array} weights tokens × tokens
 * @param {Config} config
 * @param {boolean[]} blank which patches hold no ink
 * @returns {Measures}
 */
export function measureHead(weights, config, blank) {
  const { tokens, numPrefixTokens } = config;
  const received = new Float64Array(tokens);
  const sums = { entropy: 0, distance: 0, itself: 0, blank: 0 };
  for (let asker = 0; asker < tokens; asker++) {
    for (let answerer = 0; answerer < tokens; answerer++) {
      const weight = weights[asker * tokens + answerer];
      if (weight > 0) sums.entropy -= weight * Math.log2(weight);
      received[answerer] += weight / tokens;
      if (answerer === asker) sums.itself += weight;
      if (blank[answerer - numPrefixTokens]) sums.blank += weight;
      sums.distance += weight * distanceBetween(asker, answerer, config);
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
 * Means of measures, for instance over all examples.
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
 * The head's name by the thresholds above; "none" if it reaches none of them.
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
 * Between the middles of two patches, in patches; 0 to and from the class token.
 * @param {number} asker
 * @param {number} answerer
 * @param {Config} config
 */
function distanceBetween(asker, answerer, config) {
  const [from, to] = [placeOf(asker, config), placeOf(answerer, config)];
  return from && to ? Math.hypot(from[0] - to[0], from[1] - to[1]) : 0;
}

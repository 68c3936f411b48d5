// The example drawings, computed once: for the self-check, and for the mean measures of heads.

import { largestDifference } from "./arithmetic.js";
import { measureHead, meanMeasures } from "./measures.js";
import { forward } from "./model.js";
import { forwardText, wordLogits } from "./text.js";
import { encode } from "./words.js";
import { blankPatches } from "./patches.js";
import { normalize } from "./pixels.js";
import { rasterise } from "./raster.js";
import { trainedSwitches } from "./experiments.js";

/** @typedef {import("./model.js").Model} Model */
/** @typedef {import("./model.js").Run} Run */
/** @typedef {import("./measures.js").Measures} Measures */
/** @typedef {{label: string, ink: Float64Array, blank: boolean[], run: Run}} ExampleResult */

const ALLOWED = 1e-5; // from PyTorch's logits

/**
 * @typedef {Object} Examples
 * @property {ExampleResult[]} results
 * @property {number} difference the largest from PyTorch's logits so far, of drawings and texts
 * @property {boolean} done
 * @property {boolean} failed
 */

/**
 * The work in pieces of one example or text.
 * @param {Model} model
 * @param {import("./text.js").TextModel} textModel
 * @param {import("./payload.js").Payload} payload
 * @returns {{examples: Examples, pieces: (() => void)[]}}
 */
export function planExamples(model, textModel, payload) {
  /** @type {Examples} */
  const examples = { results: [], difference: 0, done: false, failed: false };
  /** @param {ArrayLike<number>} logits @param {number[]} expected */
  const check = (logits, expected) => {
    const difference = largestDifference(logits, expected);
    examples.difference = Math.max(examples.difference, difference); // NaN stays
    examples.failed ||= !(difference <= ALLOWED);
  };
  const texts = payload.text.checks.map(({ text, logits }) => () => {
    const { ids } = encode(text, textModel.placeOf);
    check(wordLogits(textModel, forwardText(textModel, ids), ids.length - 1), logits);
  });
  const drawings = payload.examples.map(({ label, strokes }, i) => () => {
    const ink = rasterise(strokes, model.config.imageShape, true);
    const run = forward(model, normalize(ink, model.config), trainedSwitches(model.config));
    examples.results.push({ label, ink, blank: blankPatches(ink, model.config), run });
    check(run.logits, payload.logits[i]);
    examples.done = examples.results.length === payload.examples.length;
  });
  return { examples, pieces: [...texts, ...drawings] };
}

/**
 * The mean measures of one head over the examples.
 * @param {Examples} examples
 * @param {Model} model
 * @param {number} layer
 * @param {number} head
 * @returns {Measures}
 */
export function usualMeasures(examples, model, layer, head) {
  return meanMeasures(
    examples.results.map(({ run, blank }) =>
      measureHead(run.layers[layer].heads[head].weights, model.config, blank),
    ),
  );
}

/** The mean share of blank patches. @param {Examples} examples */
export function usualBlankShare({ results }) {
  const shares = results.map(({ blank }) => blank.filter(Boolean).length / blank.length);
  return shares.reduce((sum, share) => sum + share, 0) / shares.length;
}

/**
 * The example patches whose keys match a query best: the largest q·k.
 * @param {Examples} examples
 * @param {Model} model
 * @param {number} layer
 * @param {number} head
 * @param {Float64Array} query
 * @param {number} count
 */
export function bestMatches(examples, model, layer, head, query, count) {
  const { config } = model;
  const matches = examples.results.flatMap(({ label, ink, run }) => {
    const { key } = run.layers[layer].heads[head];
    return Array.from({ length: config.patches }, (_, patch) => {
      const start = (patch + config.numPrefixTokens) * config.headDim;
      const score = query.reduce((sum, component, i) => sum + component * key[start + i], 0);
      return { label, ink, patch, score };
    });
  });
  return matches.sort((a, b) => b.score - a.score).slice(0, count);
}

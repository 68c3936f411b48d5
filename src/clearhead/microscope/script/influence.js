// The effect on the prediction of masking a token or removing a head.

import { forwardFrom } from "./model.js";

/** @typedef {import("./model.js").Model} Model */
/** @typedef {import("./experiments.js").Switches} Switches */

/**
 * @typedef {Object} Influence probabilities after each change; null until computed
 * @property {(number[] | null)[]} masked for each token
 * @property {(number[] | null)[]} removed for each head, layer by layer
 */

/**
 * The work in pieces of one forward pass.
 * @param {Model} model
 * @param {import("./model.js").Run} run
 * @param {Switches} switches
 * @returns {{influence: Influence, pieces: (() => void)[]}}
 */
export function planInfluence(model, run, switches) {
  const { tokens, depth, numHeads } = model.config;
  /** @type {Influence} */
  const influence = {
    masked: new Array(tokens).fill(null),
    removed: new Array(depth * numHeads).fill(null),
  };
  const { mask, removed } = switches;
  /** @param {number} layer @param {Partial<Switches>} change from this layer on */
  const after = (layer, change) =>
    forwardFrom(model, run, layer, { ...switches, ...change }).probabilities;
  const pieces = [
    ...influence.masked.map((_, token) => () => {
      const masked = { ...mask, tokens: [...mask.tokens, token] };
      influence.masked[token] = after(mask.layer ?? 0, { mask: masked });
    }),
    ...influence.removed.map((_, head) => () => {
      influence.removed[head] = after(Math.floor(head / numHeads), { removed: [...removed, head] });
    }),
  ];
  return { influence, pieces };
}

// What happens to the answer when one thing is taken away: a token's answers, or a head.

import { forward } from "./model.js";

/** @typedef {import("./model.js").Model} Model */
/** @typedef {import("./experiments.js").Switches} Switches */

/**
 * @typedef {Object} Influence probabilities after each change; null where not computed yet
 * @property {(number[] | null)[]} silenced for each token
 * @property {(number[] | null)[]} removed for each head, layer by layer
 */

/**
 * The work, in small pieces: each call of a piece is one forward pass.
 * @param {Model} model
 * @param {Float64Array} pixels
 * @param {Switches} switches
 * @returns {{influence: Influence, pieces: (() => void)[]}}
 */
export function planInfluence(model, pixels, switches) {
  const { tokens, depth, numHeads } = model.config;
  /** @type {Influence} */
  const influence = {
    silenced: new Array(tokens).fill(null),
    removed: new Array(depth * numHeads).fill(null),
  };
  /** @param {Partial<Switches>} change */
  const after = (change) => forward(model, pixels, { ...switches, ...change }).probabilities;
  const { silence, removed } = switches;
  const pieces = [
    ...influence.silenced.map((_, token) => () => {
      const silenced = { ...silence, tokens: [...silence.tokens, token] };
      influence.silenced[token] = after({ silence: silenced });
    }),
    ...influence.removed.map((_, head) => () => {
      influence.removed[head] = after({ removed: [...removed, head] });
    }),
  ];
  return { influence, pieces };
}

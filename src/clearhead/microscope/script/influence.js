// What happens to the answer when one thing is taken away: a token's answers, or a head.

import { forwardFrom } from "./model.js";

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
 * @param {import("./model.js").Run} run
 * @param {Switches} switches
 * @returns {{influence: Influence, pieces: (() => void)[]}}
 */
export function planInfluence(model, run, switches) {
  const { tokens, depth, numHeads } = model.config;
  /** @type {Influence} */
  const influence = {
    silenced: new Array(tokens).fill(null),
    removed: new Array(depth * numHeads).fill(null),
  };
  const { silence, removed } = switches;
  /** @param {number} layer @param {Partial<Switches>} change that begins there */
  const after = (layer, change) =>
    forwardFrom(model, run, layer, { ...switches, ...change }).probabilities;
  const pieces = [
    ...influence.silenced.map((_, token) => () => {
      const silenced = { ...silence, tokens: [...silence.tokens, token] };
      influence.silenced[token] = after(silence.layer ?? 0, { silence: silenced });
    }),
    ...influence.removed.map((_, head) => () => {
      influence.removed[head] = after(Math.floor(head / numHeads), { removed: [...removed, head] });
    }),
  ];
  return { influence, pieces };
}

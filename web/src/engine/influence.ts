// The effect on the prediction of masking a token or removing a head, in pieces of one forward pass.

import type { Switches } from "./interventions";
import { forwardFrom, type Model, type Run } from "./vit";

/** Probabilities after each change; null until computed. */
export interface Influence {
  masked: (number[] | null)[]; // for each token
  removed: (number[] | null)[]; // for each head, layer by layer
}

export function planInfluence(
  model: Model,
  run: Run,
  switches: Switches,
): { influence: Influence; pieces: (() => void)[] } {
  const { tokens, depth, numHeads } = model.config;
  const influence: Influence = {
    masked: new Array(tokens).fill(null),
    removed: new Array(depth * numHeads).fill(null),
  };
  const { mask, removed } = switches;
  const after = (layer: number, change: Partial<Switches>): number[] =>
    forwardFrom(model, run, layer, { ...switches, ...change }).probabilities;
  const pieces = [
    ...influence.masked.map((_, token) => () => {
      influence.masked[token] = after(mask.layer ?? 0, { mask: { ...mask, tokens: [...mask.tokens, token] } });
    }),
    ...influence.removed.map((_, head) => () => {
      influence.removed[head] = after(Math.floor(head / numHeads), { removed: [...removed, head] });
    }),
  ];
  return { influence, pieces };
}

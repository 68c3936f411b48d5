// The effect on the prediction of masking a token, removing a head, or showing a patch, in pieces of one
// forward pass.

import { TRAINED, type Switches } from "./interventions";
import { normalize, patchOf } from "./patches";
import { logOdds } from "./predict";
import { forward, forwardFrom, type Model, type Run } from "./vit";

/** Probabilities after each change; null until computed. */
export interface Influence {
  masked: (number[] | null)[]; // for each token
  removed: (number[] | null)[]; // for each head, layer by layer
}

export function planInfluence(model: Model, run: Run, switches: Switches) {
  const { tokens, depth, numHeads } = model.config;
  const { masked, removed, scope, layer } = switches;
  const influence: Influence = { masked: new Array(tokens).fill(null), removed: new Array(depth * numHeads).fill(null) };
  const after = (from: number, change: Partial<Switches>): number[] =>
    forwardFrom(model, run, from, { ...switches, ...change }).probabilities;
  const pieces = [
    ...influence.masked.map((_, token) => () => {
      influence.masked[token] = after(scope === "model" ? 0 : layer, { masked: [...masked, token] });
    }),
    ...influence.removed.map((_, head) => () => {
      influence.removed[head] = after(Math.floor(head / numHeads), { removed: [...removed, head] });
    }),
  ];
  return { influence, pieces };
}

/**
 * Exact Shapley values of patches: the mean change of a class's log-odds that a patch makes, over all
 * orders in which patches can be added to blank paper (Shapley 1953), as in clearhead.insight.shapley.
 * One forward pass for each set of patches with ink; patches without ink have the value 0.
 */
export function planShapley(model: Model, ink: Float64Array, target: number) {
  const { config } = model;
  const owners = Array.from(ink, (_, i) => patchOf(i, config));
  const live = [...new Set(owners.filter((_, i) => ink[i] > 0))].sort((a, b) => a - b);
  const coalitions = 2 ** live.length;
  const scores = new Float64Array(coalitions);
  const pieces = Array.from({ length: coalitions }, (_, set) => () => {
    const kept = new Set(live.filter((__, i) => (set >> i) & 1));
    const input = ink.map((value, i) => (kept.has(owners[i]) ? value : 0));
    scores[set] = logOdds(forward(model, normalize(input, config), TRAINED).probabilities, target);
  });
  return { pieces, values: (): Float64Array => shapleyValues(scores, live, config.patches) };
}

/** φ_i = Σ_S |S|! (n − |S| − 1)! / n! · (v(S ∪ i) − v(S)). */
export function shapleyValues(scores: Float64Array, live: number[], patches: number): Float64Array {
  const players = live.length;
  const weights = [1 / players];
  for (let size = 1; size < players; size++) weights.push((weights[size - 1] * size) / (players - size));
  const values = new Float64Array(patches);
  for (let set = 0; set < scores.length; set++) {
    let size = 0;
    for (let i = 0; i < players; i++) size += (set >> i) & 1;
    live.forEach((patch, i) => {
      if (!((set >> i) & 1)) values[patch] += weights[size] * (scores[set | (1 << i)] - scores[set]);
    });
  }
  return values;
}

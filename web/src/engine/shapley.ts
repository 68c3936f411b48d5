// Exact Shapley values of patches: the mean change of a class's log-odds that a patch makes, over all
// orders in which patches can be added to blank paper (Shapley 1953), as in clearhead.insight.shapley.

import { trainedSwitches } from "./interventions";
import { normalize, patchOf } from "./patches";
import { logOdds } from "./predict";
import { forward, type Model } from "./vit";

/** One forward pass for each set of patches with ink; patches without ink have the value 0. */
export function planShapley(model: Model, ink: Float64Array, target: number) {
  const { config } = model;
  const owners = Array.from(ink, (_, i) => patchOf(i, config));
  const live = [...new Set(owners.filter((_, i) => ink[i] > 0))].sort((a, b) => a - b);
  const coalitions = 2 ** live.length;
  const scores = new Float64Array(coalitions);
  const switches = trainedSwitches(config);
  const pieces = Array.from({ length: coalitions }, (_, set) => () => {
    const kept = new Set(live.filter((__, i) => (set >> i) & 1));
    const input = ink.map((value, i) => (kept.has(owners[i]) ? value : 0));
    scores[set] = logOdds(forward(model, normalize(input, config), switches).probabilities, target);
  });
  return { coalitions, pieces, values: (): Float64Array => shapleyValues(scores, live, config.patches) };
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

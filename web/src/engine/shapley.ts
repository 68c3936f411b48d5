// Exact Shapley values of patches: the mean change of a class's log-odds that a patch makes, over all
// orders in which patches can be added to blank paper (Shapley 1953), as in clearhead.insight.shapley.

import type { Config } from "./config";
import { trainedSwitches } from "./interventions";
import { normalize } from "./patches";
import { logOdds } from "./predict";
import { forward, type Model } from "./vit";

export interface ShapleyPlan {
  live: number[]; // patches with any ink; the others have the value 0
  coalitions: number;
  pieces: (() => void)[]; // one forward pass each
  values: () => Float64Array; // one for each patch, when all pieces are done
}

export function planShapley(model: Model, ink: Float64Array, target: number): ShapleyPlan {
  const { config } = model;
  const owner = patchOfPixel(config);
  const live = Array.from({ length: config.patches }, (_, patch) => patch).filter((patch) =>
    ink.some((value, i) => value > 0 && owner(i) === patch),
  );
  const coalitions = 2 ** live.length;
  const scores = new Float64Array(coalitions);
  const switches = trainedSwitches(config);
  const pieces = Array.from({ length: coalitions }, (_, set) => () => {
    const kept = new Set(live.filter((__, i) => (set >> i) & 1));
    const input = ink.map((value, i) => (kept.has(owner(i)) ? value : 0));
    scores[set] = logOdds(forward(model, normalize(input, config), switches).probabilities, target);
  });
  return { live, coalitions, pieces, values: () => shapleyValues(scores, live, config.patches) };
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

function patchOfPixel({ imageShape, patchShape, grid }: Config): (i: number) => number {
  const plane = imageShape[0] * imageShape[1];
  return (i) => {
    const [row, column] = [Math.floor((i % plane) / imageShape[1]), i % imageShape[1]];
    return Math.floor(row / patchShape[0]) * grid[1] + Math.floor(column / patchShape[1]);
  };
}

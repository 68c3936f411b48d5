// The effect on the prediction of masking a token, removing a head, or showing a patch, in pieces of one
// forward pass; maps of the image and measures of a head, from attention weights.

import type { Config } from "./config";
import { TRAINED, type Switches } from "./interventions";
import { normalize, patchOf, placeOf } from "./patches";
import { logOdds } from "./predict";
import { forward, forwardFrom, type Model, type Run } from "./vit";

/** Probabilities after each change; null until computed. */
export interface Influence {
  masked: (number[] | null)[]; // for each token
  removed: (number[] | null)[]; // for each head, layer by layer
}

export function planInfluence(model: Model, run: Run, switches: Switches) {
  const { tokens, depth, numHeads } = model.config;
  const { masked, removed } = switches;
  const influence: Influence = { masked: new Array(tokens).fill(null), removed: new Array(depth * numHeads).fill(null) };
  const after = (from: number, change: Partial<Switches>): number[] =>
    forwardFrom(model, run, from, { ...switches, ...change }).probabilities;
  const pieces = [
    ...influence.masked.map((_, token) => () => {
      influence.masked[token] = after(0, { masked: [...masked, token] });
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

/**
 * Attention rollout: how much each token contributes to the pooled output by attention alone. In every
 * layer, the mean of the heads and the identity are averaged; the layers are multiplied (Abnar and
 * Zuidema 2020). Sums to 1 over all tokens.
 */
export function rollout(run: Run, config: Config): Float64Array {
  const { tokens } = config;
  let flow = pooledRows(config);
  for (const layer of [...run.layers].reverse()) {
    const mean = meanOf(layer.heads.map((head) => head.weights));
    const next = new Float64Array(tokens);
    for (let q = 0; q < tokens; q++) {
      next[q] += flow[q] / 2;
      for (let k = 0; k < tokens; k++) next[k] += (flow[q] * mean[q * tokens + k]) / 2;
    }
    flow = next;
  }
  return flow;
}

/** The last layer's attention to each token, as the mean over heads and pooled queries. */
export function lastLayer(run: Run, config: Config): Float64Array {
  const { tokens } = config;
  const mean = meanOf(run.layers[run.layers.length - 1].heads.map((head) => head.weights));
  const rows = pooledRows(config);
  return Float64Array.from({ length: tokens }, (_, k) =>
    rows.reduce((sum, share, q) => sum + share * mean[q * tokens + k], 0),
  );
}

/** The share of each token in the pooled vector: the class token, or all alike. */
function pooledRows({ tokens, numPrefixTokens }: Config): Float64Array {
  const rows = new Float64Array(tokens);
  if (numPrefixTokens > 0) rows[0] = 1;
  else rows.fill(1 / tokens);
  return rows;
}

export function meanOf(heads: Float64Array[]): Float64Array {
  return heads[0].map((_, i) => heads.reduce((sum, weights) => sum + weights[i], 0) / heads.length);
}

/** Of one head, means over the queries. */
export interface Measures {
  entropy: number; // in bits; log2(tokens) for uniform weights
  distance: number; // between query and key patch, in patches, weighted by attention
  itself: number; // share of attention on the query token itself
  blank: number; // share of attention on blank patches
}

export function measureHead(weights: Float64Array, config: Config, blank: boolean[]): Measures {
  const { tokens, numPrefixTokens } = config;
  const sums = { entropy: 0, distance: 0, itself: 0, blank: 0 };
  for (let q = 0; q < tokens; q++) {
    for (let k = 0; k < tokens; k++) {
      const weight = weights[q * tokens + k];
      if (weight > 0) sums.entropy -= weight * Math.log2(weight);
      if (k === q) sums.itself += weight;
      if (blank[k - numPrefixTokens]) sums.blank += weight;
      sums.distance += weight * distanceBetween(q, k, config);
    }
  }
  return {
    entropy: sums.entropy / tokens,
    distance: sums.distance / config.patches,
    itself: sums.itself / tokens,
    blank: sums.blank / tokens,
  };
}

/** Distance of the centres of two patches, in patches; 0 for the class token. */
function distanceBetween(q: number, k: number, config: Config): number {
  const [from, to] = [placeOf(q, config), placeOf(k, config)];
  return from && to ? Math.hypot(from[0] - to[0], from[1] - to[1]) : 0;
}

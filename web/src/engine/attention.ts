// The stages of attention, one function per stage, as in clearhead.attention.attention_stages.
//
// scores = Q Kᵀ → scaled = scores · scale → masked → weights = softmax of each row
// → context = weights · V            (Vaswani et al. 2017, "Attention Is All You Need", eq. 1)

import { linear, times, zeros } from "./arithmetic";

/** One head, as flat arrays, row by row. */
export interface Stages {
  query: Float64Array; // tokens × head_dim, as key, value and context
  key: Float64Array;
  value: Float64Array;
  scores: Float64Array; // tokens × tokens, as scaled, masked and weights
  scaled: Float64Array;
  masked: Float64Array;
  weights: Float64Array;
  context: Float64Array;
}

/** Minus infinity at masked keys, and with `causal` at keys after the query. */
function masked(scaled: Float64Array, tokens: number, maskedKeys: number[], causal: boolean): Float64Array {
  if (maskedKeys.length === 0 && !causal) return scaled;
  return scaled.map((score, i) => {
    const [q, k] = [Math.floor(i / tokens), i % tokens];
    return maskedKeys.includes(k) || (causal && k > q) ? -Infinity : score;
  });
}

/** Softmax of each row; zeros where all keys are masked. */
function weights(masked: Float64Array, tokens: number): Float64Array {
  const result = zeros(masked.length);
  for (let start = 0; start < masked.length; start += tokens) {
    let largest = -Infinity;
    for (let i = 0; i < tokens; i++) largest = Math.max(largest, masked[start + i]);
    if (largest === -Infinity) continue;
    let sum = 0;
    for (let i = 0; i < tokens; i++) {
      result[start + i] = Math.exp(masked[start + i] - largest);
      sum += result[start + i];
    }
    for (let i = 0; i < tokens; i++) result[start + i] /= sum;
  }
  return result;
}

/** The weighted sum of the values: weights · V. */
function context(weights: Float64Array, value: Float64Array, tokens: number): Float64Array {
  const valueDim = value.length / tokens;
  const result = zeros(value.length);
  for (let q = 0; q < tokens; q++) {
    for (let k = 0; k < tokens; k++) {
      const weight = weights[q * tokens + k];
      for (let i = 0; i < valueDim; i++) result[q * valueDim + i] += weight * value[k * valueDim + i];
    }
  }
  return result;
}

export function stages(
  query: Float64Array,
  key: Float64Array,
  value: Float64Array,
  tokens: number,
  scale: number,
  maskedKeys: number[],
  causal: boolean,
): Stages {
  const scores = linear(query, tokens, { weight: key, bias: null }, tokens); // Q Kᵀ
  const scaled = times(scores, scale);
  const allowed = masked(scaled, tokens, maskedKeys, causal);
  const rows = weights(allowed, tokens);
  return { query, key, value, scores, scaled, masked: allowed, weights: rows, context: context(rows, value, tokens) };
}

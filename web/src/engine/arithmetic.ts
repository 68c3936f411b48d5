// The arithmetic of a Transformer on flat arrays, row by row, in double precision.

import { product } from "./product";

export interface Linear {
  weight: Float64Array; // outputs × inputs
  bias: Float64Array | null;
}

const LAYER_NORM_EPS = 1e-6; // as in the models, and in timm

const CHUNK = 1 << 16; // numbers; a forward pass of the default model needs about 70,000
let chunk = new Float64Array(CHUNK);
let used = 0;

/** An array of zeros, cut from a large one: thousands of small ones are slow to allocate and to free. */
export function zeros(length: number): Float64Array {
  if (used + length > chunk.length) {
    chunk = new Float64Array(Math.max(CHUNK, length));
    used = 0;
  }
  used += length;
  return chunk.subarray(used - length, used);
}

/** x Wᵀ + b for every row of x. */
export function linear(x: Float64Array, rows: number, { weight, bias }: Linear, outputs: number): Float64Array {
  const result = products(x, rows, weight, outputs);
  if (bias !== null) {
    for (let start = 0; start < result.length; start += outputs) {
      for (let i = 0; i < outputs; i++) result[start + i] += bias[i];
    }
  }
  return result;
}

/** x Yᵀ, for every row of x and of y. */
export function products(x: Float64Array, rows: number, y: Float64Array, outputs: number): Float64Array {
  const inputs = x.length / rows;
  const result = zeros(rows * outputs);
  if (product(x, rows, y, outputs, result)) return result;
  for (let place = 0; place < result.length; place++) {
    const [from, to] = [Math.floor(place / outputs) * inputs, (place % outputs) * inputs];
    let sum = 0;
    for (let i = 0; i < inputs; i++) sum += x[from + i] * y[to + i];
    result[place] = sum;
  }
  return result;
}

/** Layer normalisation of each row (Ba et al. 2016). */
export function layerNorm(x: Float64Array, rows: number, { weight, bias }: Linear): Float64Array {
  const width = x.length / rows;
  const result = zeros(x.length);
  for (let start = 0; start < x.length; start += width) {
    let sum = 0;
    for (let i = 0; i < width; i++) sum += x[start + i];
    const mean = sum / width;
    let squares = 0;
    for (let i = 0; i < width; i++) squares += (x[start + i] - mean) * (x[start + i] - mean);
    const factor = 1 / Math.sqrt(squares / width + LAYER_NORM_EPS);
    for (let i = 0; i < width; i++) {
      result[start + i] = (x[start + i] - mean) * factor * weight[i] + (bias === null ? 0 : bias[i]);
    }
  }
  return result;
}

export function added(x: Float64Array, y: ArrayLike<number>): Float64Array {
  const result = zeros(x.length);
  for (let i = 0; i < x.length; i++) result[i] = x[i] + y[i];
  return result;
}

/** x Φ(x), with Φ the normal distribution (Hendrycks and Gimpel 2016). */
export function gelu(x: Float64Array): Float64Array {
  const result = zeros(x.length);
  for (let i = 0; i < x.length; i++) result[i] = 0.5 * x[i] * (1 + erf(x[i] * Math.SQRT1_2));
  return result;
}

const NODES = 256; // of the table of erf, for each unit
const END = 6; // beyond it, erf is 1 in double precision

/** The error function, to about 15 digits: its Taylor series of order 5 around the nearest node of a table. */
export function erf(x: number): number {
  const size = x < 0 ? -x : x;
  if (!(size < END)) return size >= END ? Math.sign(x) : x; // NaN stays
  const node = (size * NODES + 0.5) | 0;
  const n = node / NODES;
  const d = size - n;
  const square = n * n;
  // Derivatives of erf are Hermite polynomials times the first one.
  const series = 1 - d * (n - d * ((2 * square - 1) / 3 - d * ((n * (2 * square - 3)) / 6 - (d * (4 * square * (square - 3) + 3)) / 30)));
  const value = ERF[node] + SLOPE[node] * d * series;
  return x < 0 ? -value : value;
}

/** By its series (Abramowitz and Stegun 1964, 7.1.6). */
function erfBySeries(x: number): number {
  let term = x;
  let sum = x;
  for (let n = 0; term > sum * 1e-17; n++) {
    term *= (2 * x * x) / (2 * n + 3);
    sum += term;
  }
  return Math.exp(-x * x) * sum * TWO_BY_ROOT_PI;
}

const TWO_BY_ROOT_PI = 2 / Math.sqrt(Math.PI);
const ERF = Float64Array.from({ length: END * NODES + 1 }, (_, i) => Math.min(1, erfBySeries(i / NODES)));
const SLOPE = Float64Array.from({ length: END * NODES + 1 }, (_, i) => TWO_BY_ROOT_PI * Math.exp(-((i / NODES) ** 2)));

/** The probabilities e^v / Σ e^v. */
export function softmax(values: ArrayLike<number>): number[] {
  const largest = Math.max(...Array.from(values));
  const exponentials = Array.from(values, (value) => Math.exp(value - largest));
  const sum = exponentials.reduce((total, value) => total + value, 0);
  return exponentials.map((value) => value / sum);
}

/** The largest difference between two arrays of the same length; NaN if one holds NaN. */
export function largestDifference(x: ArrayLike<number>, y: ArrayLike<number>): number {
  if (x.length !== y.length) return NaN;
  let largest = 0;
  for (let i = 0; i < x.length; i++) {
    if (x[i] === y[i]) continue; // also where both are infinite
    const difference = Math.abs(x[i] - y[i]);
    if (Number.isNaN(difference)) return NaN;
    largest = Math.max(largest, difference);
  }
  return largest;
}

/** The index of the largest value; the first of several. */
export function argmax(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

/** Indices of the values, the largest first. */
export function ranked(values: ArrayLike<number>): number[] {
  return Array.from(values, (_, i) => i).sort((a, b) => values[b] - values[a]);
}

export function times(x: Float64Array, factor: number): Float64Array {
  const result = zeros(x.length);
  for (let i = 0; i < x.length; i++) result[i] = x[i] * factor;
  return result;
}

export function norm(values: ArrayLike<number>): number {
  return Math.hypot(...Array.from(values));
}

/** Row `index` of a flat matrix. */
export function row(matrix: Float64Array, index: number, width: number): Float64Array {
  return matrix.subarray(index * width, (index + 1) * width);
}

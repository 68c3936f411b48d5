// The arithmetic of a Transformer on flat arrays of double precision, row by row.

/** @typedef {{weight: Float64Array, bias: Float64Array | null}} Linear weight: outputs × inputs */

const LAYER_NORM_EPS = 1e-6; // timm's, and so the models'
const FAR = 2.5; // beyond it, erf's continued fraction is the shorter way

/**
 * x Wᵀ + b for every row of x. Four rows at a time: each weight is read once for all of them, which
 * takes half the time.
 * @param {Float64Array} x
 * @param {number} rows
 * @param {Linear} layer
 * @param {number} outputs
 * @returns {Float64Array} rows × outputs
 */
export function linear(x, rows, { weight, bias }, outputs) {
  const inputs = x.length / rows;
  const result = new Float64Array(rows * outputs);
  let row = 0;
  for (; row + 4 <= rows; row += 4) fourRows(x, row, inputs, weight, outputs, result);
  for (; row < rows; row++) oneRow(x, row, inputs, weight, outputs, result);
  if (bias !== null) for (let i = 0; i < result.length; i++) result[i] += bias[i % outputs];
  return result;
}

/**
 * @param {Float64Array} x
 * @param {number} row
 * @param {number} inputs
 * @param {Float64Array} weight
 * @param {number} outputs
 * @param {Float64Array} result
 */
function fourRows(x, row, inputs, weight, outputs, result) {
  const [x0, x1, x2, x3] = [0, 1, 2, 3].map((i) => (row + i) * inputs);
  const start = row * outputs;
  for (let output = 0; output < outputs; output++) {
    const from = output * inputs;
    let [sum0, sum1, sum2, sum3] = [0, 0, 0, 0];
    for (let i = 0; i < inputs; i++) {
      const w = weight[from + i];
      sum0 += x[x0 + i] * w;
      sum1 += x[x1 + i] * w;
      sum2 += x[x2 + i] * w;
      sum3 += x[x3 + i] * w;
    }
    result[start + output] = sum0;
    result[start + outputs + output] = sum1;
    result[start + 2 * outputs + output] = sum2;
    result[start + 3 * outputs + output] = sum3;
  }
}

/**
 * @param {Float64Array} x
 * @param {number} row
 * @param {number} inputs
 * @param {Float64Array} weight
 * @param {number} outputs
 * @param {Float64Array} result
 */
function oneRow(x, row, inputs, weight, outputs, result) {
  const start = row * inputs;
  for (let output = 0; output < outputs; output++) {
    const from = output * inputs;
    let sum = 0;
    for (let i = 0; i < inputs; i++) sum += x[start + i] * weight[from + i];
    result[row * outputs + output] = sum;
  }
}

/**
 * Each row moved to mean 0 and variance 1, then scaled and shifted (Ba et al. 2016).
 * @param {Float64Array} x
 * @param {number} rows
 * @param {{weight: Float64Array, bias: Float64Array}} norm
 */
export function layerNorm(x, rows, { weight, bias }) {
  const width = x.length / rows;
  const result = new Float64Array(x.length);
  for (let start = 0; start < x.length; start += width) {
    let sum = 0;
    for (let i = 0; i < width; i++) sum += x[start + i];
    const mean = sum / width;
    let squares = 0;
    for (let i = 0; i < width; i++) squares += (x[start + i] - mean) ** 2;
    const factor = 1 / Math.sqrt(squares / width + LAYER_NORM_EPS);
    for (let i = 0; i < width; i++) {
      result[start + i] = (x[start + i] - mean) * factor * weight[i] + bias[i];
    }
  }
  return result;
}

/**
 * @param {Float64Array} x
 * @param {Float64Array} y
 */
export function added(x, y) {
  return x.map((value, i) => value + y[i]);
}

/**
 * x Φ(x), with Φ the normal distribution (Hendrycks and Gimpel 2016).
 * @param {Float64Array} x
 */
export function gelu(x) {
  return x.map((value) => 0.5 * value * (1 + erf(value / Math.SQRT2)));
}

/**
 * The error function, to about 15 digits (Abramowitz and Stegun 1964, 7.1.6 and 7.1.14).
 * @param {number} x
 */
export function erf(x) {
  const size = Math.abs(x);
  const value = size < FAR ? erfBySeries(size) : 1 - erfcByFraction(size);
  return x < 0 ? -value : value;
}

/** @param {number} x */
function erfBySeries(x) {
  let term = x;
  let sum = x;
  for (let n = 1; term > sum * 1e-17; n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return ((2 * Math.exp(-x * x)) / Math.sqrt(Math.PI)) * sum;
}

/** @param {number} x */
function erfcByFraction(x) {
  let fraction = x;
  for (let n = 40; n >= 1; n--) fraction = x + n / 2 / fraction;
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / fraction;
}

/**
 * @param {ArrayLike<number>} values
 * @returns {number[]} the probabilities e^v / Σ e^v
 */
export function softmax(values) {
  const largest = Math.max(...Array.from(values));
  const exponentials = Array.from(values, (value) => Math.exp(value - largest));
  const sum = exponentials.reduce((total, value) => total + value, 0);
  return exponentials.map((value) => value / sum);
}

/**
 * The largest difference between two arrays of the same length; NaN if a number is missing.
 * @param {ArrayLike<number>} x
 * @param {ArrayLike<number>} y
 */
export function largestDifference(x, y) {
  if (x.length !== y.length) return NaN;
  let largest = 0;
  for (let i = 0; i < x.length; i++) {
    if (x[i] === y[i]) continue; // also where both are infinite
    const difference = Math.abs(x[i] - y[i]);
    if (!(difference <= largest)) largest = difference;
    if (Number.isNaN(difference)) return NaN;
  }
  return largest;
}

/** The place of the largest value; the first of several. @param {ArrayLike<number>} values */
export function argmax(values) {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

// The arithmetic of a Transformer on flat arrays of double precision, row by row.

/** @typedef {{weight: Float64Array, bias: Float64Array | null}} Linear weight: outputs × inputs */

const LAYER_NORM_EPS = 1e-6; // as in the models, and in timm
const FAR = 2.5; // beyond it, the continued fraction of erf converges faster

/**
 * x Wᵀ + b for every row of x. Computed in blocks of four rows and two outputs: each number
 * loaded is used in several products, which takes a third of the time.
 * @param {Float64Array} x
 * @param {number} rows
 * @param {Linear} layer
 * @param {number} outputs
 * @returns {Float64Array} rows × outputs
 */
export function linear(x, rows, { weight, bias }, outputs) {
  const result = new Float64Array(rows * outputs);
  const [wholeRows, wholeOutputs] = [rows - (rows % 4), outputs - (outputs % 2)];
  for (let row = 0; row < wholeRows; row += 4) {
    for (let output = 0; output < wholeOutputs; output += 2) {
      eightProducts(x, row, x.length / rows, weight, output, outputs, result);
    }
  }
  for (let row = 0; row < rows; row++) {
    for (let output = row < wholeRows ? wholeOutputs : 0; output < outputs; output++) {
      oneProduct(x, row, x.length / rows, weight, output, outputs, result);
    }
  }
  if (bias !== null) {
    for (let start = 0; start < result.length; start += outputs) {
      for (let i = 0; i < outputs; i++) result[start + i] += bias[i];
    }
  }
  return result;
}

/**
 * @param {Float64Array} x
 * @param {number} row
 * @param {number} inputs
 * @param {Float64Array} weight
 * @param {number} output
 * @param {number} outputs
 * @param {Float64Array} result
 */
function eightProducts(x, row, inputs, weight, output, outputs, result) {
  const x0 = row * inputs;
  const x1 = x0 + inputs;
  const x2 = x1 + inputs;
  const x3 = x2 + inputs;
  const w0 = output * inputs;
  const w1 = w0 + inputs;
  let [a0, a1, a2, a3, b0, b1, b2, b3] = [0, 0, 0, 0, 0, 0, 0, 0];
  for (let i = 0; i < inputs; i++) {
    const a = weight[w0 + i];
    const b = weight[w1 + i];
    a0 += x[x0 + i] * a;
    a1 += x[x1 + i] * a;
    a2 += x[x2 + i] * a;
    a3 += x[x3 + i] * a;
    b0 += x[x0 + i] * b;
    b1 += x[x1 + i] * b;
    b2 += x[x2 + i] * b;
    b3 += x[x3 + i] * b;
  }
  const to = row * outputs + output;
  result[to] = a0;
  result[to + 1] = b0;
  result[to + outputs] = a1;
  result[to + outputs + 1] = b1;
  result[to + 2 * outputs] = a2;
  result[to + 2 * outputs + 1] = b2;
  result[to + 3 * outputs] = a3;
  result[to + 3 * outputs + 1] = b3;
}

/**
 * @param {Float64Array} x
 * @param {number} row
 * @param {number} inputs
 * @param {Float64Array} weight
 * @param {number} output
 * @param {number} outputs
 * @param {Float64Array} result
 */
function oneProduct(x, row, inputs, weight, output, outputs, result) {
  let sum = 0;
  for (let i = 0; i < inputs; i++) sum += x[row * inputs + i] * weight[output * inputs + i];
  result[row * outputs + output] = sum;
}

/**
 * Layer normalisation of each row (Ba et al. 2016).
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
  const result = new Float64Array(x.length);
  for (let i = 0; i < x.length; i++) result[i] = x[i] + y[i];
  return result;
}

/**
 * x Φ(x), with Φ the normal distribution (Hendrycks and Gimpel 2016).
 * @param {Float64Array} x
 */
export function gelu(x) {
  const result = new Float64Array(x.length);
  for (let i = 0; i < x.length; i++) result[i] = 0.5 * x[i] * (1 + erf(x[i] / Math.SQRT2));
  return result;
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
 * The largest difference between two arrays of the same length; NaN if one holds NaN.
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

/** The index of the largest value; the first of several. @param {ArrayLike<number>} values */
export function argmax(values) {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

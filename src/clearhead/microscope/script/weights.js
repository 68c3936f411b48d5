// Decodes weights: half precision (IEEE 754 binary16), little-endian, base64.

/** @typedef {{name: string, shape: number[]}} TensorName */

const HALVES = decodingTable();

/**
 * All tensors by name, as in the model's state dict.
 * @param {string} base64
 * @param {TensorName[]} names in the order of the bytes
 * @returns {Map<string, Float64Array>}
 */
export function readTensors(base64, names) {
  const text = atob(base64.trim());
  const tensors = new Map();
  let place = 0;
  for (const { name, shape } of names) {
    const values = new Float64Array(shape.reduce((product, length) => product * length, 1));
    for (let i = 0; i < values.length; i++, place += 2) {
      values[i] = HALVES[text.charCodeAt(place) + 256 * text.charCodeAt(place + 1)];
    }
    tensors.set(name, values);
  }
  if (place !== text.length) throw new Error(`weights: expected ${place} bytes, got ${text.length}`);
  return tensors;
}

/** The value of each of the 65,536 half-precision numbers. */
function decodingTable() {
  return Float64Array.from({ length: 65536 }, (_, bits) => {
    const sign = bits >> 15 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  });
}

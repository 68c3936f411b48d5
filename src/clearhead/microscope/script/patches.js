// An image as a sequence of patches that do not overlap.

/** @typedef {import("./config.js").Config} Config */

const BLANK = 0.005; // mean ink below which a patch counts as blank

/**
 * Patches row by row, each flattened as (channel, row, column).
 * @param {Float64Array} pixels channel by channel
 * @param {Config} config
 */
export function cutPatches(pixels, { imageShape, patchShape, grid, inChannels }) {
  const cut = new Float64Array(pixels.length);
  let place = 0;
  for (let patch = 0; patch < grid[0] * grid[1]; patch++) {
    const top = Math.floor(patch / grid[1]) * patchShape[0];
    const left = (patch % grid[1]) * patchShape[1];
    for (let channel = 0; channel < inChannels; channel++) {
      for (let row = 0; row < patchShape[0]; row++) {
        const start = (channel * imageShape[0] + top + row) * imageShape[1] + left;
        cut.set(pixels.subarray(start, start + patchShape[1]), place);
        place += patchShape[1];
      }
    }
  }
  return cut;
}

/**
 * The ink of one channel with reordered patches: place i has patch order[i].
 * @param {Float64Array} ink
 * @param {Config} config
 * @param {number[]} order
 */
export function reorderPatches(ink, config, order) {
  const { imageShape, patchShape, grid } = config;
  const result = new Float64Array(ink.length);
  order.forEach((from, to) => {
    for (let row = 0; row < patchShape[0]; row++) {
      for (let column = 0; column < patchShape[1]; column++) {
        result[pixelOf(to)] = ink[pixelOf(from)];

        /** @param {number} patch */
        function pixelOf(patch) {
          const y = Math.floor(patch / grid[1]) * patchShape[0] + row;
          return y * imageShape[1] + (patch % grid[1]) * patchShape[1] + column;
        }
      }
    }
  });
  return result;
}

/**
 * Which patches hold almost no ink.
 * @param {Float64Array} ink one channel, 0 to 1
 * @param {Config} config
 * @returns {boolean[]}
 */
export function blankPatches(ink, config) {
  const length = config.patchShape[0] * config.patchShape[1];
  const cut = cutPatches(ink, { ...config, inChannels: 1 });
  return Array.from({ length: config.patches }, (_, patch) => {
    const values = cut.subarray(patch * length, (patch + 1) * length);
    return values.reduce((sum, value) => sum + value, 0) / length < BLANK;
  });
}

/**
 * Row and column of a token's patch; null for the class token.
 * @param {number} token
 * @param {Config} config
 * @returns {[number, number] | null}
 */
export function placeOf(token, { numPrefixTokens, grid }) {
  const patch = token - numPrefixTokens;
  return patch < 0 ? null : [Math.floor(patch / grid[1]), patch % grid[1]];
}

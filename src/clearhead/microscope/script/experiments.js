// The switches of the experiments, and noise and shuffling of the input.

/** @typedef {import("./config.js").Config} Config */

/** @typedef {"head" | "layer" | "model"} Scope where a key token is masked */

/**
 * @typedef {Object} Mask tokens that no query attends to; null is every layer, or every head
 * @property {number[]} tokens
 * @property {number | null} layer
 * @property {number | null} head
 */

/**
 * @typedef {Object} Switches settings of the forward pass
 * @property {number} temperature divides the scores, in addition to √d_k
 * @property {boolean} positions
 * @property {number[]} removed heads, as layer · headsPerLayer + head
 * @property {number} headsPerLayer
 * @property {{layer: number, mode: "trained" | "zero" | "reversed"}} values
 * @property {Mask} mask
 */

/**
 * The switches of the unchanged model.
 * @param {{numHeads: number}} config
 * @returns {Switches}
 */
export function trainedSwitches(config) {
  return {
    temperature: 1,
    positions: true,
    removed: [],
    headsPerLayer: config.numHeads,
    values: { layer: 0, mode: "trained" },
    mask: { tokens: [], layer: null, head: null },
  };
}

/**
 * @param {Switches} switches
 * @param {number} layer
 * @param {number} head
 */
export function isRemoved({ removed, headsPerLayer }, layer, head) {
  return removed.includes(layer * headsPerLayer + head);
}

/** @type {ReadonlySet<number>} */
const NONE = new Set();

/**
 * The tokens that no query attends to in this head.
 * @param {Switches} switches
 * @param {number} layer
 * @param {number} head
 * @returns {ReadonlySet<number>}
 */
export function maskedIn({ mask }, layer, head) {
  if (mask.tokens.length === 0) return NONE;
  if (mask.layer !== null && mask.layer !== layer) return NONE;
  if (mask.head !== null && mask.head !== head) return NONE;
  return new Set(mask.tokens);
}

/**
 * The temperature that cancels √d_k: with T = 1/√d_k the factor on the scores is 1.
 * @param {Config} config
 */
export function unscaledTemperature({ headDim }) {
  return 1 / Math.sqrt(headDim);
}

/**
 * An order of the patches, determined by the seed; 0 leaves them in place.
 * @param {number} count
 * @param {number} seed
 */
export function shuffledOrder(count, seed) {
  const order = Array.from({ length: count }, (_, i) => i);
  if (seed === 0) return order;
  const random = randomNumbers(seed);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

/**
 * Ink with normal noise of this deviation in some patches, clipped to 0 … 1.
 * @param {Float64Array} ink
 * @param {Config} config
 * @param {number[]} patches
 * @param {number} deviation
 */
export function noisy(ink, { imageShape, patchShape, grid }, patches, deviation) {
  if (patches.length === 0 || deviation === 0) return ink;
  const random = randomNumbers(1);
  return ink.map((value, i) => {
    const draw = normal(random); // drawn for every pixel, so that the noise of a patch depends on no other patch
    const row = Math.floor(Math.floor(i / imageShape[1]) / patchShape[0]);
    const patch = row * grid[1] + Math.floor((i % imageShape[1]) / patchShape[1]);
    return patches.includes(patch) ? Math.min(1, Math.max(0, value + deviation * draw)) : value;
  });
}

/** Box and Muller 1958. @param {() => number} random */
function normal(random) {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/**
 * Numbers from 0 up to 1: a linear congruential generator (Park and Miller 1988).
 * @param {number} seed
 */
function randomNumbers(seed) {
  let state = (seed * 16807) % 2147483647;
  const next = () => {
    state = (state * 48271) % 2147483647;
    return (state - 1) / 2147483646;
  };
  for (let i = 0; i < 3; i++) next(); // the first numbers of close seeds are similar
  return next;
}

// Ink to what a model sees; as clearhead.data.augment.

/** @typedef {import("./config.js").Config} Config */

/**
 * (x - mean) / std in every channel; drawn ink is grey, the same in all of them.
 * @param {Float64Array} ink 0 to 1
 * @param {Config} config
 */
export function normalize(ink, { inChannels, mean, std }) {
  const pixels = new Float64Array(inChannels * ink.length);
  for (let channel = 0; channel < inChannels; channel++) {
    const middle = mean[channel % mean.length];
    const deviation = std[channel % std.length];
    pixels.set(
      ink.map((value) => (value - middle) / deviation),
      channel * ink.length,
    );
  }
  return pixels;
}

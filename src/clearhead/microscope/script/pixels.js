// Ink to model input, as in clearhead.data.augment.

/** @typedef {import("./config.js").Config} Config */

/**
 * (x - mean) / std in every channel; drawn ink is grey, equal in all channels.
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

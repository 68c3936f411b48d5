// The configuration of a model, as in clearhead.models.config.

/**
 * @typedef {Object} Config
 * @property {[number, number]} imageShape height and width in pixels
 * @property {[number, number]} patchShape
 * @property {[number, number]} grid rows and columns of patches
 * @property {number} inChannels
 * @property {number} embedDim
 * @property {number} depth
 * @property {number} numHeads
 * @property {number} headDim
 * @property {number} hiddenDim of the MLP
 * @property {number} numClasses
 * @property {number} numPrefixTokens tokens before the first patch: the class token, if any
 * @property {number} patches
 * @property {number} tokens
 * @property {"sqrt" | "none" | "learned" | number} attentionScale
 * @property {"learned" | "sincos" | "none"} posEmbed
 * @property {string[]} classNames names of the classes
 * @property {number[]} mean
 * @property {number[]} std
 * @property {number} doubtfulBelow a prediction with a lower probability is doubtful
 * @property {number} rejectedBelow a drawing whose most probable class has a lower one gets no label
 * @property {number} thresholdTemperature divides the logits for the probability compared with both
 * @property {import("./text.js").TextConfig} text configuration of the text model
 */

/**
 * The settings in the payload, with derived sizes.
 * @param {import("./payload.js").Settings} settings
 * @param {import("./text.js").TextConfig} text
 * @returns {Config}
 */
export function readConfig(settings, text) {
  const imageShape = pair(settings.image_size);
  const patchShape = pair(settings.patch_size);
  /** @type {[number, number]} */
  const grid = [imageShape[0] / patchShape[0], imageShape[1] / patchShape[1]];
  const patches = grid[0] * grid[1];
  const numPrefixTokens = settings.pool === "class" ? 1 : 0;
  return {
    imageShape,
    patchShape,
    grid,
    patches,
    numPrefixTokens,
    tokens: patches + numPrefixTokens,
    inChannels: settings.in_channels,
    embedDim: settings.embed_dim,
    depth: settings.depth,
    numHeads: settings.num_heads,
    headDim: settings.embed_dim / settings.num_heads,
    hiddenDim: Math.floor(settings.embed_dim * settings.mlp_ratio),
    numClasses: settings.num_classes,
    attentionScale: settings.attention_scale,
    posEmbed: settings.pos_embed,
    classNames: settings.class_names.length
      ? settings.class_names
      : Array.from({ length: settings.num_classes }, (_, i) => String(i)),
    mean: settings.mean,
    std: settings.std,
    doubtfulBelow: settings.doubtful_below,
    rejectedBelow: settings.rejected_below,
    thresholdTemperature: settings.threshold_temperature,
    text,
  };
}

/**
 * The factor on the scores without experiments; a learned one is already in the queries.
 * @param {Pick<Config, "attentionScale" | "headDim">} config
 */
export function trainedScale({ attentionScale, headDim }) {
  if (attentionScale === "sqrt") return 1 / Math.sqrt(headDim);
  return typeof attentionScale === "number" ? attentionScale : 1;
}

/**
 * @param {number | [number, number]} size
 * @returns {[number, number]}
 */
function pair(size) {
  return typeof size === "number" ? [size, size] : size;
}

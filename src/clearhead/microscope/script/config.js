// What a model is made of; the words of clearhead.models.config.

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
 * @property {string[]} answers what the classes are called
 * @property {number[]} mean
 * @property {number[]} std
 * @property {import("./text.js").TextConfig} text the text model beside this one
 */

/**
 * The settings in the payload, with what follows from them.
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
    answers: settings.class_names.length
      ? settings.class_names
      : Array.from({ length: settings.num_classes }, (_, i) => String(i)),
    mean: settings.mean,
    std: settings.std,
    text,
  };
}

/**
 * The factor on the scores before any experiment (a learnt one is already in the queries).
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

// The page's data: one block of JSON, and weights in base64.

/**
 * @typedef {Object} Settings a ViTConfig in JSON
 * @property {number | [number, number]} image_size
 * @property {number | [number, number]} patch_size
 * @property {number} in_channels
 * @property {number} embed_dim
 * @property {number} depth
 * @property {number} mlp_ratio
 * @property {number} num_heads
 * @property {number} num_classes
 * @property {string[]} class_names
 * @property {number[]} mean
 * @property {number[]} std
 * @property {number} doubtful_below
 * @property {number} rejected_below
 * @property {number} threshold_temperature
 * @property {"learned" | "sincos" | "none"} pos_embed
 * @property {"mean" | "class"} pool
 * @property {"sqrt" | "none" | "learned" | number} attention_scale
 */

/**
 * @typedef {Object} TextSettings a TextConfig in JSON
 * @property {string[]} vocabulary
 * @property {number} context_length
 * @property {number} embed_dim
 * @property {number} depth
 * @property {number} mlp_ratio
 * @property {number} num_heads
 * @property {"sqrt" | "none" | "learned" | number} attention_scale
 * @property {boolean} causal
 */

/**
 * @typedef {Object} TextPart the page's text model
 * @property {string} name
 * @property {TextSettings} settings
 * @property {import("./weights.js").TensorName[]} tensors
 * @property {{text: string, logits: number[]}[]} checks logits of the last word, by PyTorch in double precision
 */

/**
 * @typedef {Object} Payload
 * @property {string} name of the model
 * @property {string} version of Clearhead
 * @property {Settings} settings
 * @property {import("./weights.js").TensorName[]} tensors
 * @property {{label: string, strokes: import("./strokes.js").Stroke[]}[]} examples example drawings
 * @property {number[][]} logits of the examples, by PyTorch in double precision
 * @property {TextPart} text
 * @property {{correct: number, total: number, full: number} | null} accuracy with rounded weights
 */

/**
 * @param {Document} page
 * @returns {Payload & {weights: string, textWeights: string}}
 */
export function readPayload(page) {
  const settings = page.getElementById("payload")?.textContent ?? "";
  const weights = page.getElementById("weights")?.textContent ?? "";
  const textWeights = page.getElementById("text-weights")?.textContent ?? "";
  return { ...JSON.parse(settings), weights, textWeights };
}

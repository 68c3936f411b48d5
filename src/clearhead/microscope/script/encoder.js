// The encoder's blocks, for patches and for words, as in clearhead.models.layers.

import { added, gelu, layerNorm, linear } from "./arithmetic.js";
import { trainedScale } from "./config.js";
import { isRemoved, maskedIn } from "./experiments.js";
import { stages } from "./stages.js";

/** @typedef {import("./arithmetic.js").Linear} Linear */
/** @typedef {import("./experiments.js").Switches} Switches */
/** @typedef {import("./stages.js").Stages} Stages */
/** @typedef {{weight: Float64Array, bias: Float64Array}} Norm */

/**
 * @typedef {Object} Shape the sizes that a block needs
 * @property {number} tokens
 * @property {number} embedDim
 * @property {number} numHeads
 * @property {number} headDim
 * @property {number} hiddenDim of the MLP
 * @property {"sqrt" | "none" | "learned" | number} attentionScale
 * @property {boolean} [causal] whether a token attends only to itself and earlier tokens
 */

/**
 * @typedef {Object} Block
 * @property {Norm} norm1
 * @property {Linear} qkv
 * @property {Linear} proj
 * @property {Float64Array | null} learnedScale one factor per head
 * @property {Norm} norm2
 * @property {Linear} fc1
 * @property {Linear} fc2
 */

/**
 * @typedef {Object} LayerRun
 * @property {Float64Array} input tokens × embed_dim
 * @property {Float64Array} normed input of queries, keys and values
 * @property {Stages[]} heads
 * @property {Float64Array} concatenated the heads' contexts side by side
 * @property {Float64Array} projected concatenated · W_O
 * @property {Float64Array} afterAttention input + projected
 * @property {Float64Array} mlpOutput output of the MLP
 * @property {Float64Array} output afterAttention + mlpOutput
 */

/**
 * A tensor by its name.
 * @param {Map<string, Float64Array>} tensors
 * @param {string} name
 */
export function readTensor(tensors, name) {
  const found = tensors.get(name);
  if (!found) throw new Error(`the page lacks the tensor ${name}`);
  return found;
}

/**
 * Weight and bias of a layer.
 * @param {Map<string, Float64Array>} tensors
 * @param {string} name
 */
export function readLinear(tensors, name) {
  return { weight: readTensor(tensors, `${name}.weight`), bias: readTensor(tensors, `${name}.bias`) };
}

/**
 * @param {Map<string, Float64Array>} tensors
 * @param {number} depth
 * @returns {Block[]}
 */
export function readBlocks(tensors, depth) {
  return Array.from({ length: depth }, (_, layer) => {
    const block = `blocks.${layer}`;
    return {
      norm1: readLinear(tensors, `${block}.norm1`),
      qkv: readLinear(tensors, `${block}.attn.qkv`),
      proj: readLinear(tensors, `${block}.attn.proj`),
      learnedScale: tensors.get(`${block}.attn.learned_scale`) ?? null,
      norm2: readLinear(tensors, `${block}.norm2`),
      fc1: readLinear(tensors, `${block}.mlp.fc1`),
      fc2: readLinear(tensors, `${block}.mlp.fc2`),
    };
  });
}

/**
 * x + Attention(LayerNorm(x)), then x + MLP(LayerNorm(x)).
 * @param {Block} block
 * @param {Float64Array} input
 * @param {Shape} shape
 * @param {number} layer
 * @param {Switches} switches
 * @returns {LayerRun}
 */
export function runBlock(block, input, shape, layer, switches) {
  const { tokens, embedDim, hiddenDim } = shape;
  const normed = layerNorm(input, tokens, block.norm1);
  const heads = attend(block, normed, shape, layer, switches);
  const concatenated = joined(heads, shape, layer, switches);
  const projected = linear(concatenated, tokens, block.proj, embedDim);
  const afterAttention = added(input, projected);
  const hidden = linear(layerNorm(afterAttention, tokens, block.norm2), tokens, block.fc1, hiddenDim);
  const mlpOutput = linear(gelu(hidden), tokens, block.fc2, embedDim);
  const output = added(afterAttention, mlpOutput);
  return { input, normed, heads, concatenated, projected, afterAttention, mlpOutput, output };
}

/**
 * @param {Block} block
 * @param {Float64Array} normed
 * @param {Shape} shape
 * @param {number} layer
 * @param {Switches} switches
 * @returns {Stages[]}
 */
function attend(block, normed, shape, layer, switches) {
  const { tokens, embedDim, headDim, numHeads, causal = false } = shape;
  const qkv = linear(normed, tokens, block.qkv, 3 * embedDim);
  const scale = trainedScale(shape) / switches.temperature;
  return Array.from({ length: numHeads }, (_, head) => {
    const [query, key, value] = [0, 1, 2].map((part) =>
      columns(qkv, 3 * embedDim, part * embedDim + head * headDim, headDim),
    );
    const factor = block.learnedScale === null ? 1 : block.learnedScale[head];
    const scaledQuery = factor === 1 ? query : query.map((component) => component * factor);
    const values = changedValues(value, tokens, layer, switches);
    return stages(scaledQuery, key, values, tokens, scale, maskedIn(switches, layer, head), causal);
  });
}

/**
 * The heads' contexts side by side; zeros for a removed head.
 * @param {Stages[]} heads
 * @param {Shape} shape
 * @param {number} layer
 * @param {Switches} switches
 */
function joined(heads, { tokens, embedDim, headDim }, layer, switches) {
  const side = new Float64Array(tokens * embedDim);
  heads.forEach(({ context }, head) => {
    if (isRemoved(switches, layer, head)) return;
    for (let token = 0; token < tokens; token++) {
      const from = context.subarray(token * headDim, (token + 1) * headDim);
      side.set(from, token * embedDim + head * headDim);
    }
  });
  return side;
}

/**
 * The values: unchanged, all zero, or in reversed order of the tokens.
 * @param {Float64Array} value
 * @param {number} tokens
 * @param {number} layer
 * @param {Switches} switches
 */
function changedValues(value, tokens, layer, { values }) {
  if (values.mode === "trained" || values.layer !== layer) return value;
  const changed = new Float64Array(value.length);
  if (values.mode === "zero") return changed;
  const width = value.length / tokens;
  for (let token = 0; token < tokens; token++) {
    changed.set(value.subarray(token * width, (token + 1) * width), (tokens - 1 - token) * width);
  }
  return changed;
}

/**
 * @param {Float64Array} x
 * @param {number} width
 * @param {number} start
 * @param {number} count
 */
function columns(x, width, start, count) {
  const rows = x.length / width;
  const result = new Float64Array(rows * count);
  for (let row = 0; row < rows; row++) {
    result.set(x.subarray(row * width + start, row * width + start + count), row * count);
  }
  return result;
}

// The encoder's blocks, for patches and for words alike; as clearhead.models.block in Python.

import { added, gelu, layerNorm, linear } from "./arithmetic.js";
import { trainedScale } from "./config.js";
import { isRemoved, silencedIn } from "./experiments.js";
import { stages } from "./stages.js";

/** @typedef {import("./arithmetic.js").Linear} Linear */
/** @typedef {import("./experiments.js").Switches} Switches */
/** @typedef {import("./stages.js").Stages} Stages */
/** @typedef {{weight: Float64Array, bias: Float64Array}} Norm */

/**
 * @typedef {Object} Shape what a block has to know of its model
 * @property {number} tokens
 * @property {number} embedDim
 * @property {number} numHeads
 * @property {number} headDim
 * @property {number} hiddenDim of the MLP
 * @property {"sqrt" | "none" | "learned" | number} attentionScale
 * @property {boolean} [causal] whether a token hears those before it and itself alone
 */

/**
 * @typedef {Object} Block
 * @property {Norm} norm1
 * @property {Linear} qkv
 * @property {Linear} proj
 * @property {Float64Array | null} learnedScale one factor a head
 * @property {Norm} norm2
 * @property {Linear} fc1
 * @property {Linear} fc2
 */

/**
 * @typedef {Object} LayerRun
 * @property {Float64Array} input tokens × embed_dim
 * @property {Float64Array} normed what queries, keys and values are made from
 * @property {Stages[]} heads
 * @property {Float64Array} concatenated the heads' contexts side by side
 * @property {Float64Array} projected their joint linear map W_O
 * @property {Float64Array} attended input + projected
 * @property {Float64Array} thought what the MLP adds
 * @property {Float64Array} output attended + thought
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
export function readBoth(tensors, name) {
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
      norm1: readBoth(tensors, `${block}.norm1`),
      qkv: readBoth(tensors, `${block}.attn.qkv`),
      proj: readBoth(tensors, `${block}.attn.proj`),
      learnedScale: tensors.get(`${block}.attn.learned_scale`) ?? null,
      norm2: readBoth(tensors, `${block}.norm2`),
      fc1: readBoth(tensors, `${block}.mlp.fc1`),
      fc2: readBoth(tensors, `${block}.mlp.fc2`),
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
  const attended = added(input, projected);
  const hidden = linear(layerNorm(attended, tokens, block.norm2), tokens, block.fc1, hiddenDim);
  const thought = linear(gelu(hidden), tokens, block.fc2, embedDim);
  const output = added(attended, thought);
  return { input, normed, heads, concatenated, projected, attended, thought, output };
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
    const asked = factor === 1 ? query : query.map((component) => component * factor);
    const handed = changedValues(value, tokens, layer, switches);
    return stages(asked, key, handed, tokens, scale, silencedIn(switches, layer, head), causal);
  });
}

/**
 * The heads' contexts side by side; zeros for a head that was removed.
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
 * The values as they are, all zero, or each token's handed over by another one.
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

// The Vision Transformer's forward pass, with everything it computes on the way kept.
//
// Patches → tokens + positions → blocks → norm → mean (or class token) → one linear head
// (Dosovitskiy et al. 2021, arXiv 2010.11929); as clearhead.models.vit in Python.

import { added, gelu, layerNorm, linear, softmax } from "./arithmetic.js";
import { trainedScale } from "./config.js";
import { cutPatches } from "./patches.js";
import { stages } from "./stages.js";
import { isRemoved, silencedIn } from "./experiments.js";

/** @typedef {import("./arithmetic.js").Linear} Linear */
/** @typedef {import("./config.js").Config} Config */
/** @typedef {import("./experiments.js").Switches} Switches */
/** @typedef {import("./stages.js").Stages} Stages */
/** @typedef {{weight: Float64Array, bias: Float64Array}} Norm */

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
 * @typedef {Object} Model
 * @property {Config} config
 * @property {Linear} patchEmbed
 * @property {Float64Array | null} classToken
 * @property {Float64Array | null} positions
 * @property {Block[]} blocks
 * @property {Norm} norm
 * @property {Linear} head
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
 * @typedef {Object} Run
 * @property {Float64Array} pixels normalised
 * @property {Float64Array} patchTokens before positions
 * @property {LayerRun[]} layers
 * @property {Float64Array} pooled
 * @property {number[]} logits
 * @property {number[]} probabilities
 */

/**
 * @param {Config} config
 * @param {Map<string, Float64Array>} tensors
 * @returns {Model}
 */
export function buildModel(config, tensors) {
  /** @param {string} name */
  const tensor = (name) => {
    const found = tensors.get(name);
    if (!found) throw new Error(`the page lacks the tensor ${name}`);
    return found;
  };
  /** @param {string} name */
  const both = (name) => ({ weight: tensor(`${name}.weight`), bias: tensor(`${name}.bias`) });
  return {
    config,
    patchEmbed: both("patch_embed.proj"),
    classToken: tensors.get("cls_token") ?? null,
    positions: tensors.get("pos_embed") ?? null,
    blocks: Array.from({ length: config.depth }, (_, layer) => ({
      norm1: both(`blocks.${layer}.norm1`),
      qkv: both(`blocks.${layer}.attn.qkv`),
      proj: both(`blocks.${layer}.attn.proj`),
      learnedScale: tensors.get(`blocks.${layer}.attn.learned_scale`) ?? null,
      norm2: both(`blocks.${layer}.norm2`),
      fc1: both(`blocks.${layer}.mlp.fc1`),
      fc2: both(`blocks.${layer}.mlp.fc2`),
    })),
    norm: both("norm"),
    head: both("head"),
  };
}

/**
 * Everything the model computes for one image.
 * @param {Model} model
 * @param {Float64Array} pixels normalised, channel by channel
 * @param {Switches} switches
 * @returns {Run}
 */
export function forward(model, pixels, switches) {
  const { config } = model;
  const cut = cutPatches(pixels, config);
  const patchTokens = linear(cut, config.patches, model.patchEmbed, config.embedDim);
  const tokens = embedded(model, patchTokens, switches);
  return onwards(model, { pixels, patchTokens }, [], tokens, switches);
}

/**
 * The same where nothing changes before a layer: the layers before it are those of `run`.
 * @param {Model} model
 * @param {Run} run
 * @param {number} layer
 * @param {Switches} switches
 * @returns {Run}
 */
export function forwardFrom(model, run, layer, switches) {
  return onwards(model, run, run.layers.slice(0, layer), run.layers[layer].input, switches);
}

/**
 * @param {Model} model
 * @param {Pick<Run, "pixels" | "patchTokens">} start
 * @param {LayerRun[]} layers those that are known, to which the others are added
 * @param {Float64Array} tokens that enter the next one
 * @param {Switches} switches
 * @returns {Run}
 */
function onwards(model, { pixels, patchTokens }, layers, tokens, switches) {
  const { config } = model;
  for (let layer = layers.length; layer < config.depth; layer++) {
    layers.push(runBlock(model.blocks[layer], tokens, config, layer, switches));
    tokens = layers[layer].output;
  }
  const pooled = pool(layerNorm(tokens, config.tokens, model.norm), config);
  const logits = Array.from(linear(pooled, 1, model.head, config.numClasses));
  return { pixels, patchTokens, layers, pooled, logits, probabilities: softmax(logits) };
}

/**
 * The head applied after every layer, 0 (the tokens that enter) to the last: probabilities.
 * (nostalgebraist 2020, "interpreting GPT: the logit lens".)
 * @param {Model} model
 * @param {Run} run
 * @returns {number[][]}
 */
export function lens(model, run) {
  const { config } = model;
  const afterEach = [run.layers[0].input, ...run.layers.map((layer) => layer.output)];
  return afterEach.map((tokens) => {
    const pooled = pool(layerNorm(tokens, config.tokens, model.norm), config);
    return softmax(linear(pooled, 1, model.head, config.numClasses));
  });
}

/**
 * The tokens that enter the first block: patches, class token if any, and positions.
 * @param {Model} model
 * @param {Float64Array} patchTokens
 * @param {Switches} switches
 */
function embedded({ classToken, positions }, patchTokens, switches) {
  const tokens = Float64Array.from([...(classToken ?? []), ...patchTokens]);
  return positions !== null && switches.positions ? added(tokens, positions) : tokens;
}

/**
 * x + Attention(LayerNorm(x)), then x + MLP(LayerNorm(x)).
 * @param {Block} block
 * @param {Float64Array} input
 * @param {Config} config
 * @param {number} layer
 * @param {Switches} switches
 * @returns {LayerRun}
 */
function runBlock(block, input, config, layer, switches) {
  const { tokens, embedDim, hiddenDim } = config;
  const normed = layerNorm(input, tokens, block.norm1);
  const heads = attend(block, normed, config, layer, switches);
  const concatenated = joined(heads, config, layer, switches);
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
 * @param {Config} config
 * @param {number} layer
 * @param {Switches} switches
 * @returns {Stages[]}
 */
function attend(block, normed, config, layer, switches) {
  const { tokens, embedDim, headDim, numHeads } = config;
  const qkv = linear(normed, tokens, block.qkv, 3 * embedDim);
  const scale = trainedScale(config) / switches.temperature;
  return Array.from({ length: numHeads }, (_, head) => {
    const [query, key, value] = [0, 1, 2].map((part) =>
      columns(qkv, 3 * embedDim, part * embedDim + head * headDim, headDim),
    );
    const factor = block.learnedScale === null ? 1 : block.learnedScale[head];
    const asked = factor === 1 ? query : query.map((component) => component * factor);
    const handed = changedValues(value, tokens, layer, switches);
    return stages(asked, key, handed, tokens, scale, silencedIn(switches, layer, head));
  });
}

/**
 * The heads' contexts side by side; zeros for a head that was removed.
 * @param {Stages[]} heads
 * @param {Config} config
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

/**
 * One vector an image: the mean of the tokens, or the class token.
 * @param {Float64Array} normed
 * @param {Config} config
 */
function pool(normed, { tokens, embedDim, numPrefixTokens }) {
  if (numPrefixTokens > 0) return normed.slice(0, embedDim);
  const mean = new Float64Array(embedDim);
  normed.forEach((value, i) => {
    mean[i % embedDim] += value / tokens;
  });
  return mean;
}

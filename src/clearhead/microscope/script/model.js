// The Vision Transformer's forward pass, with all intermediate results.
//
// Patches → tokens + positions → blocks → norm → mean (or class token) → one linear head
// (Dosovitskiy et al. 2021, arXiv 2010.11929), as in clearhead.models.vit.

import { added, layerNorm, linear, softmax } from "./arithmetic.js";
import { readBlocks, readLinear, runBlock } from "./encoder.js";
import { cutPatches } from "./patches.js";

/** @typedef {import("./arithmetic.js").Linear} Linear */
/** @typedef {import("./config.js").Config} Config */
/** @typedef {import("./encoder.js").Block} Block */
/** @typedef {import("./encoder.js").LayerRun} LayerRun */
/** @typedef {import("./encoder.js").Norm} Norm */
/** @typedef {import("./experiments.js").Switches} Switches */
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
  return {
    config,
    patchEmbed: readLinear(tensors, "patch_embed.proj"),
    classToken: tensors.get("cls_token") ?? null,
    positions: tensors.get("pos_embed") ?? null,
    blocks: readBlocks(tensors, config.depth),
    norm: readLinear(tensors, "norm"),
    head: readLinear(tensors, "head"),
  };
}

/**
 * The forward pass of one image, with all intermediate results.
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
 * The forward pass from a layer on; earlier layers are taken from `run`.
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
 * @param {LayerRun[]} layers the layers so far; the others are appended
 * @param {Float64Array} tokens input of the next layer
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
 * Probabilities from the classifier applied after every layer; 0 is the input of the first.
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
 * The input of the first block: patches, class token if any, and positions.
 * @param {Model} model
 * @param {Float64Array} patchTokens
 * @param {Switches} switches
 */
function embedded({ classToken, positions }, patchTokens, switches) {
  const tokens = Float64Array.from([...(classToken ?? []), ...patchTokens]);
  return positions !== null && switches.positions ? added(tokens, positions) : tokens;
}

/**
 * The pooled vector: the mean of the tokens, or the class token.
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
